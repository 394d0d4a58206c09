import { FILES, MOST_FILES } from '../workloads.ts';

/** Connections of each work, and the requests under way on each. */
export const CONNECTIONS = 4;
export const OUTSTANDING = 4;

export type Protection = 'none' | 'signed' | 'encrypted';

/** What the load generator does over and over; one time is one request in the figures. */
export interface Work {
  name: string;
  /** For people. */
  title: string;
  kind: 'echo' | 'read' | 'write' | 'open-close' | 'create-close' | 'list' | 'missing' | 'session' | 'connect';
  protection: Protection;
  /** Of one READ or WRITE. */
  bytes: number;
  /** How many files are opened in turn. */
  files: number;
  /** Our rate as a share of smbd's: at least so much; and what the project aims at. */
  floor: number;
  goal: number;
  /** Rates are MB (10^6 bytes) a second instead of requests a second. */
  inMegabytes: boolean;
}

const KIB = 1024;

function work(
  name: string,
  title: string,
  kind: Work['kind'],
  [floor, goal]: readonly [number, number],
  { bytes = 0, files = FILES, protection = 'none' as Protection } = {},
): Work {
  return { name, title, kind, protection, bytes, files, floor, goal, inMegabytes: bytes >= 64 * KIB };
}

const SMALL = [1, 2] as const;
const LARGE = [0.8, 1] as const;
const DECIDED = [0.7, 1] as const;

export const WORKS: readonly Work[] = [
  work('echo', 'ECHO', 'echo', SMALL),
  work('echo-signed', 'ECHO, signed', 'echo', SMALL, { protection: 'signed' }),
  work('read-4k', 'READ 4 KiB at random', 'read', SMALL, { bytes: 4 * KIB }),
  work('read-4k-signed', 'READ 4 KiB at random, signed', 'read', SMALL, { bytes: 4 * KIB, protection: 'signed' }),
  work('write-4k', 'WRITE 4 KiB at random', 'write', SMALL, { bytes: 4 * KIB }),
  work('write-4k-signed', 'WRITE 4 KiB at random, signed', 'write', SMALL, { bytes: 4 * KIB, protection: 'signed' }),
  work('read-64k', 'READ 64 KiB in order', 'read', LARGE, { bytes: 64 * KIB }),
  work('write-64k', 'WRITE 64 KiB in order', 'write', LARGE, { bytes: 64 * KIB }),
  work('read-1m', 'READ 1 MiB in order', 'read', LARGE, { bytes: 1024 * KIB }),
  work('write-1m', 'WRITE 1 MiB in order', 'write', LARGE, { bytes: 1024 * KIB }),
  work('open-close', 'CREATE + CLOSE of a file that exists', 'open-close', DECIDED),
  work('open-close-many', 'CREATE + CLOSE of so many files that none is remembered', 'open-close', DECIDED, {
    files: MOST_FILES,
  }),
  work('create-close', 'CREATE of a new file + CLOSE that deletes it', 'create-close', DECIDED),
  work('list', 'list a directory of 10,000 entries', 'list', DECIDED),
  work('missing', 'CREATE of a name that is not in it', 'missing', DECIDED),
  work('session', 'log on with NTLMv2 and off', 'session', [1, 3]),
  work('connect', 'connect, log on with NTLMv2, connect to the share', 'connect', [1, 3]),
  work('read-1m-signed', 'READ 1 MiB in order, signed', 'read', DECIDED, { bytes: 1024 * KIB, protection: 'signed' }),
  work('read-1m-encrypted', 'READ 1 MiB in order, encrypted', 'read', DECIDED, {
    bytes: 1024 * KIB,
    protection: 'encrypted',
  }),
];

/** The works of that name, or else those whose name contains it. */
export function chosenWorks(only: string | undefined): readonly Work[] {
  if (only === undefined) return WORKS;
  const exact = WORKS.filter(({ name }) => name === only);
  return exact.length > 0 ? exact : WORKS.filter(({ name }) => name.includes(only));
}
