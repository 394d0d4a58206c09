import { Status } from '../status.ts';
import { WireError } from '../wire/errors.ts';
import { EaFlag } from './constants.ts';
import { align4, codec, requireBytes } from './fields.ts';
import { nextEntry } from './file-info.ts';

/** One extended attribute (MS-FSCC 2.4.16). */
export interface FullEa {
  /** EaFlag. */
  flags: number;
  /** 1 to 255 bytes, one byte a character; matched without regard to case. */
  name: string;
  /** At most 65535 bytes; empty removes the attribute. */
  value: Buffer;
}

/** FILE_FULL_EA_INFORMATION (MS-FSCC 2.4.16): a list, entries aligned to 4. An empty list encodes to nothing. */
export const fileFullEaInformation = codec<FullEa[]>({
  name: 'FileFullEaInformation',
  minimumSize: 0,
  size: (entries) => entries.reduce((size, ea) => align4(size) + 9 + ea.name.length + ea.value.length, 0),
  write(entries, into, start) {
    let at = start;
    for (const [index, ea] of entries.entries()) {
      const used = 9 + ea.name.length + ea.value.length;
      const last = index === entries.length - 1;
      into.writeUInt32LE(last ? 0 : align4(used), at);
      into.writeUInt8(ea.flags, at + 4);
      into.writeUInt8(ea.name.length, at + 5);
      into.writeUInt16LE(ea.value.length, at + 6);
      into.write(ea.name, at + 8, 'latin1');
      into.writeUInt8(0, at + 8 + ea.name.length);
      ea.value.copy(into, at + 9 + ea.name.length);
      if (last) return at + used - start;
      into.fill(0, at + used, at + align4(used));
      at += align4(used);
    }
    return 0;
  },
  decode(buffer) {
    const entries: FullEa[] = [];
    if (buffer.length === 0) return entries;
    for (let at = 0; ; ) {
      requireBytes(buffer, at, 8, 'FileFullEaInformation');
      const nameLength = buffer.readUInt8(at + 5);
      const valueLength = buffer.readUInt16LE(at + 6);
      requireBytes(buffer, at + 8, nameLength + 1 + valueLength, 'FileFullEaInformation');
      if (nameLength === 0 || buffer.readUInt8(at + 8 + nameLength) !== 0) {
        throw new WireError('FileFullEaInformation: name is empty or does not end with a zero byte');
      }
      const valueAt = at + 9 + nameLength;
      entries.push({
        flags: buffer.readUInt8(at + 4),
        name: buffer.toString('latin1', at + 8, at + 8 + nameLength),
        value: buffer.subarray(valueAt, valueAt + valueLength),
      });
      const next = nextEntry(buffer, at, 9 + nameLength + valueLength, 'FileFullEaInformation');
      if (next === 0) return entries;
      requireBytes(buffer, next, 8, 'FileFullEaInformation');
      at = next;
    }
  },
});

/** FILE_GET_EA_INFORMATION (MS-FSCC 2.4.16.1): the names that a QUERY_INFO for extended attributes asks for. */
export const fileGetEaInformation = codec<string[]>({
  name: 'FileGetEaInformation',
  minimumSize: 0,
  size: (names) => names.reduce((size, name) => align4(size) + 6 + name.length, 0),
  write(names, into, start) {
    let at = start;
    for (const [index, name] of names.entries()) {
      const used = 6 + name.length;
      const last = index === names.length - 1;
      into.writeUInt32LE(last ? 0 : align4(used), at);
      into.writeUInt8(name.length, at + 4);
      into.write(name, at + 5, 'latin1');
      into.writeUInt8(0, at + 5 + name.length);
      if (last) return at + used - start;
      into.fill(0, at + used, at + align4(used));
      at += align4(used);
    }
    return 0;
  },
  decode(buffer) {
    const names: string[] = [];
    if (buffer.length === 0) return names;
    for (let at = 0; ; ) {
      requireBytes(buffer, at, 5, 'FileGetEaInformation');
      const nameLength = buffer.readUInt8(at + 4);
      requireBytes(buffer, at + 5, nameLength + 1, 'FileGetEaInformation');
      if (nameLength === 0) throw new WireError('FileGetEaInformation: empty name');
      names.push(buffer.toString('latin1', at + 5, at + 5 + nameLength));
      const next = nextEntry(buffer, at, 6 + nameLength, 'FileGetEaInformation');
      if (next === 0) return names;
      requireBytes(buffer, next, 5, 'FileGetEaInformation');
      at = next;
    }
  },
});

/** Characters that names of extended attributes must not have (MS-FSCC 2.4.16). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const FORBIDDEN_IN_NAME = /[\x00-\x1f"*+,/:;<=>?[\\\]|]/;

/** A list that a client brings holds names and flags that there are (MS-FSA 2.1.5.15.5); SUCCESS or the status. */
export function checkEaList(list: readonly FullEa[]): number {
  for (const { name, flags } of list) {
    if (FORBIDDEN_IN_NAME.test(name)) return Status.INVALID_EA_NAME;
    if ((flags & ~EaFlag.needEa) !== 0) return Status.INVALID_EA_NAME;
  }
  return Status.SUCCESS;
}

const folded = (name: string): string => name.toUpperCase();

/**
 * The list after `changes` were set one after the other (MS-FSA 2.1.5.15.5): an attribute of the same name is replaced where it
 * is, or removed by an empty value.
 */
export function changedEaList(list: readonly FullEa[], changes: readonly FullEa[]): FullEa[] {
  const byName = new Map(list.map((ea) => [folded(ea.name), ea]));
  for (const ea of changes) {
    if (ea.value.length === 0) byName.delete(folded(ea.name));
    else byName.set(folded(ea.name), ea);
  }
  return [...byName.values()];
}

/** Those of the list that a client names, in its order; of one that is not there, the name with an empty value. */
export function selectedEas(list: readonly FullEa[], names: readonly string[]): FullEa[] {
  const byName = new Map(list.map((ea) => [folded(ea.name), ea]));
  return names.map((name) => byName.get(folded(name)) ?? { flags: 0, name, value: NOTHING });
}

const NOTHING = Buffer.alloc(0);

/** EaSize of the information classes (MS-FSCC 2.4.13): what the list takes in the form that OS/2 had. 0: there are none. */
export function eaSizeOf(list: readonly FullEa[]): number {
  if (list.length === 0) return 0;
  return list.reduce((size, { name, value }) => size + 5 + name.length + value.length, 4);
}

/** Largest list of a file, in that form. Bytes. */
export const MAXIMUM_EA_SIZE = 0xffff;
