import { splitAddress } from '../../common/metrics.ts';

/** One of the Redis of an embedded store, and the Sentinel beside it. */
export interface Member {
  host: string;
  port: number;
  /** 0 where the store is a single Redis. */
  sentinelPort: number;
}

/** The store as all of its members are told. */
export interface Membership {
  /** What the Sentinels call the primary. */
  name: string;
  /** In the order of the pods; the first is the primary of a store that nobody ever used. */
  members: Member[];
  /** Which of them this is. */
  own: number;
}

/** An address as Sentinel has it. */
export interface Address {
  host: string;
  port: number;
}

/** Sentinels that have to agree that a primary is gone. */
export const quorumOf = (members: number): number => Math.floor(members / 2) + 1;

/**
 * Reads `HOST:PORT/SENTINELPORT,...`, or `HOST:PORT` of a single Redis.
 * @throws RangeError that says what to write
 */
export function parseMembers(text: string): Member[] {
  return text.split(',').map((entry) => {
    const [address = '', sentinel = '0', ...rest] = entry.split('/');
    const sentinelPort = Number(sentinel);
    if (rest.length > 0 || !Number.isInteger(sentinelPort) || sentinelPort < 0 || sentinelPort > 65_535) {
      throw new RangeError(`"${entry}" is no member; write HOST:PORT/SENTINELPORT`);
    }
    return { ...splitAddress(address), sentinelPort };
  });
}

/** The number at the end of a StatefulSet pod's name. @throws RangeError for other names, and for numbers beyond the members */
export function ordinalOf(pod: string, members: number): number {
  const ordinal = Number(/-(\d+)$/.exec(pod)?.[1] ?? Number.NaN);
  if (!(ordinal < members)) {
    throw new RangeError(`the pod "${pod}" is none of the ${members} members; its name ends with "-" and its number`);
  }
  return ordinal;
}
