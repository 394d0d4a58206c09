import {
  Durability,
  type FileState,
  type Lease,
  type LockElement,
  type LockRange,
  OpenRecord,
  OpenState,
} from '../../proto/generated/handles.ts';
import { bytesId, NOBODY, parseIdentity } from './keys.ts';
import type { Answer, Argument } from './packed.ts';

const EMPTY = Buffer.alloc(0);

/** A member of a list that a script returned, as bytes. */
export function bytesAt(list: Answer, index: number): Buffer {
  const value = list[index];
  if (Buffer.isBuffer(value)) return value;
  return typeof value === 'number' ? Buffer.from(String(value)) : EMPTY;
}

export function textAt(list: Answer, index: number): string {
  return bytesAt(list, index).toString('utf8');
}

export function numberAt(list: Answer, index: number): number {
  const value = list[index];
  return typeof value === 'number' ? value : Number(textAt(list, index) || 0);
}

export function listAt(list: Answer, index: number): Answer {
  const value = list[index];
  return Array.isArray(value) ? value : [];
}

/** The part of a record that no script looks at travels as one field. */
export function bodyOf(record: OpenRecord): Buffer {
  const { isDirectory, appInstanceId, appInstanceVersion } = record;
  if (!isDirectory && appInstanceId.length === 0) return EMPTY;
  return Buffer.from(OpenRecord.encode(OpenRecord.create({ isDirectory, appInstanceId, appInstanceVersion })).finish());
}

/** Reads what `record()` of common.lua wrote. @param locks of the whole file */
export function readRecord(flat: Answer, fileId: Uint8Array, locks: LockRange[]): OpenRecord {
  const openId = bytesId(bytesAt(flat, 0));
  const owner = parseIdentity(textAt(flat, 1));
  const body = bytesAt(flat, 19);
  const record = body.length > 0 ? OpenRecord.decode(body) : OpenRecord.create();
  record.openId = openId;
  record.fileId = Buffer.from(fileId);
  record.owner = owner && { serverId: owner.serverId, epoch: BigInt(owner.epoch) };
  record.ownershipVersion = BigInt(numberAt(flat, 2));
  record.state = openState(numberAt(flat, 3));
  record.access = numberAt(flat, 4);
  record.shareAccess = numberAt(flat, 5);
  record.durability = durability(numberAt(flat, 6));
  record.timeoutMs = numberAt(flat, 7);
  record.createGuid = bytesAt(flat, 8);
  record.clientGuid = bytesAt(flat, 9);
  record.user = textAt(flat, 10);
  record.sessionId = bytesId(bytesAt(flat, 11));
  record.oplock = numberAt(flat, 12) as OpenRecord['oplock'];
  record.lease = readLease(bytesAt(flat, 13), listAt(flat, 22));
  record.deleteOnClose = numberAt(flat, 14) === 1;
  record.share = textAt(flat, 15);
  record.path = textAt(flat, 16);
  record.lockSequences = bytesAt(flat, 17);
  record.attachment = bytesAt(flat, 18);
  record.deletePending = numberAt(flat, 20) === 1;
  record.locks = locks.filter((lock) => lock.openId === openId);
  return record;
}

/** Reads what `cached_by()` of common.lua says of a lease; undefined: there is none. */
export function readLease(key: Uint8Array, flat: Answer): Lease | undefined {
  if (flat.length === 0) return undefined;
  return {
    key: Buffer.from(key),
    state: numberAt(flat, 0),
    epoch: numberAt(flat, 1),
    version: numberAt(flat, 2),
    parentKey: bytesAt(flat, 3),
    breaking: numberAt(flat, 4) === 1,
  };
}

/** What the client of a holder of caching is to be told of a break. */
export interface Notice {
  /** The lease (ClientGuid and key, 32 bytes) or the open (its id, 8 bytes). */
  holder: Buffer;
  /** Identity of the server where its client is. */
  owner: string;
  /** States as of a lease (MS-SMB2 2.2.13.2.8), also of an oplock: R, RW or RWH. */
  from: number;
  to: number;
  epoch: number;
  /** Of the lease; 0: an oplock. */
  version: number;
  acknowledged: boolean;
  /** Which break of this holder it is. */
  number: number;
}

export function readNotices(list: Answer): Notice[] {
  return list.map((entry): Notice => {
    const flat = entry as Answer;
    return {
      holder: bytesAt(flat, 0),
      owner: textAt(flat, 1),
      from: numberAt(flat, 2),
      to: numberAt(flat, 3),
      epoch: numberAt(flat, 4),
      version: numberAt(flat, 5),
      acknowledged: numberAt(flat, 6) === 1,
      number: numberAt(flat, 7),
    };
  });
}

/** A break that an operation waits for. */
export interface Awaited {
  holder: Buffer;
  number: number;
}

export function readAwaited(list: Answer): Awaited[] {
  return list.map((entry) => ({ holder: bytesAt(entry as Answer, 0), number: numberAt(entry as Answer, 1) }));
}

/** The owner of an open as the table writes it, `serverId@epoch`, or nobody. */
export function ownerOf({ owner }: OpenRecord): string {
  return owner ? `${owner.serverId}@${owner.epoch}` : NOBODY;
}

/** The number of the last operation on an open, from its flat record. */
export function operationOf(flat: Answer): number {
  return numberAt(flat, 21);
}

function openState(value: number): OpenState {
  return value === 1 ? OpenState.DISCONNECTED : value === 2 ? OpenState.RELEASED : OpenState.ACTIVE;
}

function durability(value: number): Durability {
  return value === 3
    ? Durability.RESILIENT
    : value === 2
      ? Durability.PERSISTENT
      : value === 1
        ? Durability.DURABLE
        : Durability.NOT_DURABLE;
}

/** Reads what `file_state()` of common.lua wrote. */
export function readFileState(flat: Answer, fileId: Uint8Array): FileState {
  const locks = listAt(flat, 2).map((entry): LockRange => {
    const lock = entry as Answer;
    const offset = (BigInt(numberAt(lock, 2)) << 32n) | BigInt(numberAt(lock, 3));
    const end = (BigInt(numberAt(lock, 4)) << 32n) | BigInt(numberAt(lock, 5));
    return { offset, length: end - offset, exclusive: numberAt(lock, 1) === 1, openId: bytesId(bytesAt(lock, 0)) };
  });
  return {
    fileId: Buffer.from(fileId),
    version: BigInt(numberAt(flat, 0)),
    locks,
    readCached: numberAt(flat, 1) === 1,
    cachedBy: bytesAt(flat, 3),
    deletePending: numberAt(flat, 4) === 1,
  };
}

const LIMIT = 1n << 64n;
const LOW = 0xffffffffn;

/** Start and end (exclusive) in halves, as the lock list holds them; undefined when the range leaves the 64-bit space. */
export function rangeArguments(range: { offset: bigint; length: bigint }): Argument[] | undefined {
  const end = range.offset + range.length;
  if (end > LIMIT) return undefined;
  return [Number(range.offset >> 32n), Number(range.offset & LOW), Number(end >> 32n), Number(end & LOW)];
}

export function lockArguments(elements: LockElement[]): Argument[] | undefined {
  const all: Argument[] = [];
  for (const element of elements) {
    const range = rangeArguments(element);
    if (!range) return undefined;
    all.push(element.unlock ? 1 : 0, element.exclusive ? 1 : 0, ...range);
  }
  return all;
}
