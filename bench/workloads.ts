/** What a load process is told to do. */
export interface Workload {
  name: string;
  /** What one request is, for people. */
  title: string;
  kind: 'open-close' | 'read' | 'write' | 'echo';
  /** Requests that are not answered yet, at any time. */
  inFlight: number;
  /** Of one READ or WRITE. */
  bytes: number;
  /** How many files are opened in turn. */
  files?: number;
  /** Ask for persistent handles. */
  persistent: boolean;
  /** At least so many a second, or MB/s for what is measured in bytes; undefined: no aim set. */
  target?: number;
  /** Rates are MB (10^6 bytes) a second instead of requests a second. */
  inMegabytes?: boolean;
}

const KIB = 1024;
/** More than a file server remembers the opens of (fileserver/handles/kept-opens.ts). */
export const MOST_FILES = 10_000;

export const WORKLOADS: readonly Workload[] = [
  {
    name: 'open-close-persistent',
    title: 'open + close, persistent, durability Always, 64 in flight',
    kind: 'open-close',
    inFlight: 64,
    bytes: 0,
    persistent: true,
    target: 1500,
  },
  {
    name: 'open-close',
    title: 'open + close, 64 in flight',
    kind: 'open-close',
    inFlight: 64,
    bytes: 0,
    persistent: false,
    target: 4000,
  },
  {
    name: 'open-close-many',
    title: 'open + close of so many files that a server remembers none, 64 in flight',
    kind: 'open-close',
    files: MOST_FILES,
    inFlight: 64,
    bytes: 0,
    persistent: false,
  },
  {
    name: 'read-4k',
    title: 'READ 4 KiB at random, 16 in flight',
    kind: 'read',
    inFlight: 16,
    bytes: 4 * KIB,
    persistent: false,
    target: 8000,
  },
  {
    name: 'read-1m',
    title: 'READ 1 MiB in order, 4 in flight',
    kind: 'read',
    inFlight: 4,
    bytes: 1024 * KIB,
    persistent: false,
    target: 500,
    inMegabytes: true,
  },
  {
    name: 'write-4k',
    title: 'WRITE 4 KiB at random, 16 in flight',
    kind: 'write',
    inFlight: 16,
    bytes: 4 * KIB,
    persistent: false,
  },
  {
    name: 'write-4k-persistent',
    title: 'WRITE 4 KiB at random, stable when answered, 16 in flight',
    kind: 'write',
    inFlight: 16,
    bytes: 4 * KIB,
    persistent: true,
  },
  {
    name: 'echo',
    title: 'ECHO, 16 in flight',
    kind: 'echo',
    inFlight: 16,
    bytes: 0,
    persistent: false,
  },
];

/** Files that open + close goes round. Their names have the same length. */
export const FILES = 1000;
export const fileName = (index: number) => `open-${String(index).padStart(6, '0')}`;
/** The file that is read and written. */
export const DATA_FILE = 'data';
export const DATA_FILE_BYTES = 64 * 1024 * KIB;
