import type { Random } from '../faults/random.ts';

/** Values at the edges of what parsers compute with. */
const EDGES = [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 24, 31, 32, 64, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xfffe, 0xffff];
const EDGES_32 = [...EDGES, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_fff8, 0xffff_fffe, 0xffff_ffff];

/** Longest that bytes grow to, so that what is repeated does not drown the rest. */
const MAX_LENGTH = 128 * 1024;

type Mutation = (bytes: Buffer, random: Random, others: readonly Buffer[]) => Buffer;

const place = (bytes: Buffer, random: Random, width: number): number => {
  const last = bytes.length - width;
  // Fields are aligned more often than not.
  const at = random.between(0, Math.max(0, last));
  return random.next() < 0.7 ? at - (at % width) : at;
};

const replaced = (bytes: Buffer, from: number, to: number, by: Buffer): Buffer =>
  Buffer.concat([bytes.subarray(0, from), by, bytes.subarray(to)]);

const slice = (bytes: Buffer, random: Random, most: number): [from: number, to: number] => {
  const from = random.between(0, bytes.length);
  return [from, Math.min(bytes.length, from + random.between(1, most))];
};

const mutations: readonly Mutation[] = [
  function flipBit(bytes, random) {
    const at = place(bytes, random, 1);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.between(0, 7));
    return bytes;
  },
  function setByte(bytes, random) {
    bytes[place(bytes, random, 1)] = random.next() < 0.5 ? random.pick(EDGES) & 0xff : random.between(0, 255);
    return bytes;
  },
  function set16(bytes, random) {
    if (bytes.length >= 2) bytes.writeUInt16LE(random.pick(EDGES), place(bytes, random, 2));
    return bytes;
  },
  function set32(bytes, random) {
    if (bytes.length >= 4) bytes.writeUInt32LE(random.pick(EDGES_32), place(bytes, random, 4));
    return bytes;
  },
  function set64(bytes, random) {
    if (bytes.length < 8) return bytes;
    const at = place(bytes, random, 8);
    bytes.writeUInt32LE(random.pick(EDGES_32), at);
    bytes.writeUInt32LE(random.pick(EDGES_32), at + 4);
    return bytes;
  },
  /** Lengths and offsets that are a little off. */
  function nudge32(bytes, random) {
    if (bytes.length < 4) return bytes;
    const at = place(bytes, random, 4);
    bytes.writeUInt32LE((bytes.readUInt32LE(at) + random.between(-8, 8)) >>> 0, at);
    return bytes;
  },
  /** Text that nobody expects: lone surrogates, zeros, separators. */
  function set16Text(bytes, random) {
    const units = [0, 0xd800, 0xdfff, 0xfffe, 0x5c, 0x2f, 0x2e, 0x3a, 0x2a, 0x3f, 0x22, 0x130, 0x1e9e];
    if (bytes.length >= 2) bytes.writeUInt16LE(random.pick(units), place(bytes, random, 2));
    return bytes;
  },
  function truncate(bytes, random) {
    return bytes.subarray(0, random.between(0, bytes.length));
  },
  function remove(bytes, random) {
    return replaced(bytes, ...slice(bytes, random, 16), Buffer.alloc(0));
  },
  function insert(bytes, random) {
    const at = random.between(0, bytes.length);
    const added = Buffer.from(Array.from({ length: random.between(1, 16) }, () => random.between(0, 255)));
    return replaced(bytes, at, at, added);
  },
  function repeat(bytes, random) {
    const [from, to] = slice(bytes, random, 64);
    const times = random.next() < 0.1 ? random.between(1, 2000) : random.between(1, 4);
    return replaced(bytes, to, to, Buffer.concat(Array.from({ length: times }, () => bytes.subarray(from, to))));
  },
  function splice(bytes, random, others) {
    if (others.length === 0) return bytes;
    const other = random.pick(others);
    return replaced(bytes, ...slice(bytes, random, 64), other.subarray(...slice(other, random, 256)));
  },
];

/** Changes a copy of bytes as an attacker or a broken peer would. @param others bytes to take pieces of */
export function mutated(bytes: Buffer, random: Random, others: readonly Buffer[] = []): Buffer {
  let result: Buffer = Buffer.from(bytes);
  const count = random.next() < 0.6 ? 1 : random.between(2, 6);
  for (let i = 0; i < count; i++) {
    result = Buffer.from(random.pick(mutations)(result, random, others).subarray(0, MAX_LENGTH));
  }
  return result;
}
