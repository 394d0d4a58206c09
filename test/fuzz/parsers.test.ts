// Every parser of bytes from the network, found by its name in smb/, and fed with damaged bytes: it answers or throws the error
// that it is there to throw, soon, and gives nothing that is much larger than what it was given.
//   SEED=n            repeats a run
//   FUZZ_SECONDS=n    how long all of it takes (default 8)
import { randomInt } from 'node:crypto';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { decodeEaList } from '../../fileserver/commands/set-info/extended-attributes.ts';
import { StatusError } from '../../fileserver/session/request.ts';
import { parseWirePath, streamPath, wirePath } from '../../fileserver/volume/names.ts';
import { AuthError } from '../../smb/auth/errors.ts';
import { CipherId } from '../../smb/constants.ts';
import { createCipher } from '../../smb/crypto/cipher.ts';
import { CryptoError } from '../../smb/crypto/errors.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { decodeDirectoryList, isDirectoryInfoClass } from '../../smb/fscc/directory.ts';
import { changedEaList, eaSizeOf, type FullEa, fileFullEaInformation } from '../../smb/fscc/ea.ts';
import { compileWildcard } from '../../smb/fscc/wildcard.ts';
import { accessCheck, userToken } from '../../smb/security/access.ts';
import {
  decodeSecurityDescriptor,
  encodeSecurityDescriptor,
  type SecurityDescriptor,
} from '../../smb/security/descriptor.ts';
import { createDescriptor } from '../../smb/security/inheritance.ts';
import { WireError } from '../../smb/wire/errors.ts';
import { FrameReader } from '../../smb/wire/framing.ts';
import { encodeMessage } from '../../smb/wire/header.ts';
import { Random } from '../faults/random.ts';
import { mutated } from './mutate.ts';
import { ntlmServer, rpcRequests, rpcServer, samples } from './samples.ts';

const SEED = Number(process.env.SEED ?? randomInt(1, 1_000_000));
const SECONDS = Number(process.env.FUZZ_SECONDS ?? 8);
/** A parser that computes longer than that on at most 128 KiB does more work than there are bytes. */
const MAX_CALL_MS = 1_000;
/** What comes out may weigh so many times what went in: objects and numbers are larger in memory than on the wire. */
const MAX_GROWTH = 128;
const FREE_BYTES = 16 * 1024;
/** Accepted bytes that a parser's next inputs are made of, besides the samples. */
const MAX_FOUND = 64;

interface Parser {
  what: string;
  parse: (bytes: Buffer) => unknown;
}

type Exports = Record<string, unknown>;

/** Decoders that want more than the bytes. */
const adapters: Record<string, (decode: never) => (bytes: Buffer) => unknown> = {
  decodeEmptyBody: (decode: (bytes: Buffer, what: string) => unknown) => (bytes) => decode(bytes, 'body'),
  decodeOutputBuffer: (decode: (bytes: Buffer, what: string) => unknown) => (bytes) => decode(bytes, 'body'),
  decodeNegotiateContexts:
    (decode: (bytes: Buffer, offset: number, count: number, least: number) => unknown) => (bytes) =>
      decode(bytes, 64, 5, 64),
  decodeDirectoryList: (decode: (infoClass: number, bytes: Buffer) => unknown) => (bytes) => {
    const outcomes = DIRECTORY_CLASSES.map((infoClass) => outcomeOf(() => decode(infoClass, bytes)));
    if (outcomes.every(({ refused }) => refused)) throw new WireError('a list of no class');
    return outcomes;
  },
};

const DIRECTORY_CLASSES = Object.values(FileInfoClass).filter(isDirectoryInfoClass);

/** What parsers are called that do not begin with "decode". */
const OTHER_PARSERS = [
  'messageKind',
  'splitCompound',
  'isSmb1Negotiate',
  'isNtlmMessage',
  'responseIsComplete',
  'netrShareEnumResponse',
  'expectBindAck',
];

async function parsersIn(folder: string): Promise<Parser[]> {
  const parsers = new Map<unknown, Parser>();
  for (const file of globSync('**/*.ts', { cwd: folder }).toSorted()) {
    if (file.endsWith('.test.ts')) continue;
    const exports = (await import(join(folder, file))) as Exports;
    for (const [name, value] of Object.entries(exports)) {
      const parse = parserOf(name, value);
      if (parse && !parsers.has(value)) parsers.set(value, { what: `${file} ${name}`, parse });
    }
  }
  return [...parsers.values()];
}

function parserOf(name: string, value: unknown): ((bytes: Buffer) => unknown) | undefined {
  if (typeof value === 'function' && (name.startsWith('decode') || OTHER_PARSERS.includes(name))) {
    const adapter = adapters[name];
    if (adapter) return adapter(value as never);
    if (value.length > 1) throw new Error(`${name} takes more than bytes: say in adapters how it is called`);
    return value as (bytes: Buffer) => unknown;
  }
  const codec = value as { decode?: unknown } | null;
  if (typeof codec === 'object' && typeof codec?.decode === 'function')
    return (bytes) => (codec.decode as Parser['parse'])(bytes);
  return undefined;
}

const REFUSALS = [WireError, AuthError, CryptoError, StatusError];

/** What it gives, or the error that parsers refuse with; any other error is thrown on. */
function outcomeOf(action: () => unknown): { value?: unknown; refused: boolean } {
  try {
    return { value: action(), refused: false };
  } catch (error) {
    if (REFUSALS.some((kind) => error instanceof kind)) return { refused: true };
    throw error;
  }
}

/** Roughly the bytes of memory that a value takes. */
function weightOf(value: unknown): number {
  if (typeof value === 'string') return 2 * value.length;
  if (Buffer.isBuffer(value)) return 16 + value.length;
  if (typeof value !== 'object' || value === null) return 8;
  let weight = 16;
  for (const part of Object.values(value)) weight += 8 + weightOf(part);
  return weight;
}

/** Does it with what went in in the message of what goes wrong. */
function withInput<T>(what: string, bytes: Buffer, action: () => T): T {
  const input = `${bytes.length} bytes ${bytes.toString('hex').slice(0, 2000)}`;
  const startedAt = performance.now();
  let result: T;
  try {
    result = action();
  } catch (error) {
    throw new Error(`${what} on ${input}`, { cause: error });
  }
  const ms = performance.now() - startedAt;
  if (ms > MAX_CALL_MS) throw new Error(`${what} took ${ms} ms on ${input}`);
  return result;
}

/** Calls until the time is up, at least once. */
function during(seconds: number, action: () => void): number {
  const until = performance.now() + seconds * 1000;
  let count = 0;
  do {
    action();
    count++;
  } while (performance.now() < until);
  return count;
}

const parsers = await parsersIn(join(import.meta.dirname, '../../smb'));
/** The parsers together have half of the time, what keeps state between messages the other half. */
const secondsEach = SECONDS / 2 / parsers.length;
const EXCHANGES = 8;

describe(`seed ${SEED}: parsers fed with damaged bytes`, () => {
  test('all of them are found', () => {
    expect(parsers.length).toBeGreaterThan(100);
    for (const { what, parse } of parsers) {
      const accepted = samples.filter((bytes) => !outcomeOf(() => parse(bytes)).refused);
      expect([what, accepted.length > 0]).toEqual([what, true]);
    }
  });

  test.each(parsers)('$what', ({ what, parse }) => {
    const random = new Random(SEED);
    const found = samples.filter((bytes) => !outcomeOf(() => parse(bytes)).refused);
    const most = found.length + MAX_FOUND;
    during(secondsEach, () => {
      const bytes = mutated(random.pick(random.next() < 0.9 && found.length > 0 ? found : samples), random, samples);
      const before = Buffer.from(bytes);
      const { value, refused } = withInput(what, before, () => outcomeOf(() => parse(bytes)));
      expect(bytes.equals(before)).toBe(true);
      if (refused) return;
      const weight = weightOf(value);
      withInput(what, bytes, () => expect(weight).toBeLessThanOrEqual(FREE_BYTES + MAX_GROWTH * bytes.length));
      if (found.length < most) found.push(bytes);
    });
  });
});

describe(`seed ${SEED}: what keeps state, or is taken further, fed with damaged bytes`, () => {
  test('the acceptor of an authentication', () => {
    const random = new Random(SEED);
    during(SECONDS / 2 / EXCHANGES, () => {
      const server = ntlmServer();
      for (let i = 0; i < 3; i++) {
        const token = random.next() < 0.5 ? random.pick(samples) : mutated(random.pick(samples), random, samples);
        const { value } = withInput('NtlmServer', token, () =>
          outcomeOf(() => {
            server.claimedUser(token);
            return server.step(token);
          }),
        );
        expect(value).not.toEqual(expect.objectContaining({ done: true }));
      }
    });
  });

  test('a pipe', () => {
    const random = new Random(SEED);
    during(SECONDS / 2 / EXCHANGES, () => {
      const server = rpcServer();
      for (let i = 0; i < 6; i++) {
        const request = random.pick(rpcRequests);
        const bytes = random.next() < 0.5 ? request : mutated(request, random, samples);
        const answers = withInput('RpcServer', bytes, () => server.handle(bytes));
        expect(weightOf(answers)).toBeLessThanOrEqual(FREE_BYTES + MAX_GROWTH * bytes.length);
      }
    });
  });

  test('the frames of a connection, in pieces', () => {
    const random = new Random(SEED);
    during(SECONDS / 2 / EXCHANGES, () => {
      const most = random.pick([100, 1000, 100_000]);
      const reader = new FrameReader(most);
      const frames = samples
        .slice(0, 10)
        .map((bytes) => Buffer.concat([Buffer.from([0, 0, bytes.length >> 8, bytes.length & 0xff]), bytes]));
      let stream: Buffer = Buffer.concat(frames);
      if (random.next() < 0.8) stream = mutated(stream, random, samples);
      let given = 0;
      outcomeOf(() => {
        for (let at = 0; at < stream.length; ) {
          const end = at + random.between(1, random.pick([1, 5, 100, 5000]));
          reader.push(stream.subarray(at, end));
          at = end;
          for (let frame = reader.next(); frame; frame = reader.next()) {
            given += frame.length;
            expect(frame.length).toBeLessThanOrEqual(most);
          }
        }
      });
      expect(given).toBeLessThanOrEqual(stream.length);
    });
  });

  test('sealed messages: only what was sealed is opened', () => {
    const random = new Random(SEED);
    const message = encodeMessage({ command: 13, messageId: 1 }, Buffer.from([4, 0, 0, 0]));
    const ciphers = Object.values(CipherId).map((cipherId) => {
      const longKey = cipherId === CipherId.AES_256_CCM || cipherId === CipherId.AES_256_GCM;
      return createCipher(cipherId, Buffer.alloc(longKey ? 32 : 16, 1));
    });
    during(SECONDS / 2 / EXCHANGES, () => {
      const cipher = random.pick(ciphers);
      const sealed = cipher.seal({ sessionId: 1n }, message);
      const bytes = mutated(sealed, random, samples);
      const wasChanged = !bytes.equals(sealed);
      const { refused } = withInput('Cipher', bytes, () => outcomeOf(() => cipher.open(bytes)));
      expect(refused).toBe(wasChanged);
    });
    for (const cipher of ciphers) cipher.close();
  });

  test('search patterns', () => {
    const random = new Random(SEED);
    const elements = ['*', '?', '<', '>', '"', '.', 'a', 'ß', '\u0130', '\ud800', '\0', 'é'];
    during(SECONDS / 2 / EXCHANGES, () => {
      const text = (most: number) =>
        Array.from({ length: random.between(0, most) }, () => random.pick(elements)).join('');
      const pattern = text(random.pick([4, 40, 600]));
      withInput('compileWildcard', Buffer.from(pattern), () => compileWildcard(pattern)(text(255)));
    });
  });

  test('paths: what is taken names something in the share, and is the same again when it is told', () => {
    const random = new Random(SEED);
    const elements = [
      ...['\\', '\\', '.', '..', ':', '/', ' ', 'a', 'É', '\0', '\x1f', '"', '*', '\ud800', '\udc00', 'n'.repeat(255)],
      ...['$DATA', '$I30', '$INDEX_ALLOCATION', '$Extend\\$Quota:$Q:$INDEX_ALLOCATION'],
      // What stands for characters of names on disk (0xf000 and on).
      ...['\uf000', '\uf001', '\uf022', '\uf026', '\uf027', '\uf028', '\uf029', '\uf02e', '\uf02f'],
    ];
    let taken = 0;
    during(SECONDS / 2 / EXCHANGES, () => {
      const most = random.pick([2, 4, 12, random.next() < 0.05 ? 40_000 : 40]);
      const text = Array.from({ length: random.between(0, most) }, () => random.pick(elements)).join('');
      const path = random.next() < 0.8 ? text : mutated(random.pick(samples), random, samples).toString('utf16le');
      withInput('parseWirePath', Buffer.from(path, 'utf16le'), () => {
        const parsed = parseWirePath(path);
        if (typeof parsed === 'string') return;
        taken++;
        const { names, stream, type } = parsed;
        for (const name of [...names, stream ?? 'none']) {
          expect(name).not.toMatch(/[/\0]/);
          expect([name.length <= 255, name.isWellFormed(), name === '']).toEqual([true, true, false]);
        }
        expect(names.filter((name) => name === '.' || name === '..')).toEqual([]);
        if (type === 'index' || type === 'quotas') return;
        const file = names.join('/') || '.';
        const told = wirePath(stream === undefined ? file : streamPath(file, stream));
        expect(parseWirePath(told)).toMatchObject({ names, stream });
      });
    });
    expect(taken).toBeGreaterThan(0);
  });

  test('extended attributes: what is taken can be stored, read again and given out', () => {
    const random = new Random(SEED);
    const found = samples.filter((bytes) => bytes.length > 0 && !outcomeOf(() => decodeEaList(bytes)).refused);
    const stored = [{ flags: 0, name: 'USER.ONE', value: Buffer.from('before') }];
    during(SECONDS / 2 / EXCHANGES, () => {
      const bytes = mutated(random.pick(found), random, samples);
      withInput('decodeEaList', bytes, () => {
        const { value } = outcomeOf(() => decodeEaList(bytes));
        if (value === undefined) return;
        const changes = value as FullEa[];
        expect(weightOf(changes)).toBeLessThanOrEqual(FREE_BYTES + MAX_GROWTH * bytes.length);
        const after = changedEaList(stored, changes);
        expect(eaSizeOf(after)).toBeLessThanOrEqual(eaSizeOf(stored) + eaSizeOf(changes));
        expect(decodeEaList(fileFullEaInformation.encode(after))).toEqual(after);
        if (found.length < MAX_FOUND) found.push(bytes);
      });
    });
  });

  test('lists of directories: there is one of every class that can be asked for', () => {
    expect(DIRECTORY_CLASSES).toContain(FileInfoClass.idExtdBothDirectory);
    for (const infoClass of DIRECTORY_CLASSES) {
      const whole = samples.filter((bytes) => !outcomeOf(() => decodeDirectoryList(infoClass, bytes)).refused);
      expect([infoClass, whole.length > 0]).toEqual([infoClass, true]);
    }
  });

  test('security descriptors: what is taken can be judged, inherited and given out again', () => {
    const random = new Random(SEED);
    const accepts = (bytes: Buffer) => !outcomeOf(() => decodeSecurityDescriptor(bytes)).refused;
    const found = samples.filter(accepts);
    const token = userToken('S-1-5-21-1-2-3-1000');
    const child = { directory: true, owner: token.user, group: token.user };
    during(SECONDS / 2 / EXCHANGES, () => {
      const bytes = mutated(random.pick(found), random, samples);
      const { value } = outcomeOf(() => decodeSecurityDescriptor(bytes));
      if (value === undefined) return;
      const descriptor = value as SecurityDescriptor;
      withInput('security descriptor', bytes, () => {
        accessCheck(descriptor, token, 0x02000000);
        const again = encodeSecurityDescriptor(descriptor);
        expect(encodeSecurityDescriptor(decodeSecurityDescriptor(again))).toEqual(again);
        encodeSecurityDescriptor(createDescriptor(descriptor, undefined, child));
      });
      if (found.length < MAX_FOUND) found.push(bytes);
    });
  });
});
