import { Durability, Outcome, type LockElement as TableElement } from '../../proto/generated/handles.ts';
import { Capabilities, Dialect, LockFlags } from '../../smb/constants.ts';
import { Access } from '../../smb/security/access-mask.ts';
import { Status } from '../../smb/status.ts';
import { decodeLockRequest, encodeLockResponse, type LockElement } from '../../smb/wire/lock.ts';
import type { Waiter } from '../handles.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { MAX_LOCKS } from '../session/limits.ts';
import { type Reply, type Request, reply, statusReply } from '../session/request.ts';
import { changeStatusOf } from './change-status.ts';
import { onVolume, openOf } from './open-of.ts';

const LAST_BYTE = 0xffff_ffff_ffff_ffffn;
const MAXIMUM_SEQUENCE_INDEX = 64;

/** LOCK (MS-SMB2 3.3.5.14): locks are the table's, for the whole cluster. */
export const lock = onVolume((request: Request): Reply | Promise<Reply> => {
  const wanted = decodeLockRequest(request.message);
  const open = openOf(request, wanted.fileId);
  if (open === undefined) return statusReply(Status.FILE_CLOSED);
  if (open.isDirectory) return statusReply(Status.INVALID_DEVICE_REQUEST);
  const { valid, refusal } = checkElements(wanted.locks);
  if (valid === 0) return statusReply(refusal);
  const elements = wanted.locks.slice(0, valid).map(tableElement);
  const unlocks = elements.some(({ unlock }) => unlock);
  if (!unlocks && !open.mayAny(Access.readData | Access.writeData | Access.appendData | Access.execute)) {
    return statusReply(Status.ACCESS_DENIED);
  }
  const sequenceIndex = keepsSequence(request, open, wanted.lockSequenceIndex) ? wanted.lockSequenceIndex : 0;
  const decided = decide(request, open, elements, { sequenceIndex, sequenceNumber: wanted.lockSequenceNumber });
  if (refusal === Status.SUCCESS) return decided;
  return decided.then((answer) => (answer.status === Status.SUCCESS ? statusReply(refusal) : answer));
});

/**
 * MS-SMB2 3.3.5.14.1 and .2. `valid`: how many elements are to be carried out, from the first on; `refusal`: what the rest
 * gets. Unlocks are done one after the other until one is invalid; locks are all or none.
 */
export function checkElements(locks: readonly LockElement[]): { valid: number; refusal: number } {
  const unlocking = ((locks[0]?.flags ?? 0) & LockFlags.UNLOCK) !== 0;
  for (const [i, lock] of locks.entries()) {
    const refusal = unlocking ? checkUnlock(lock) : checkLock(lock, locks.length);
    if (refusal !== Status.SUCCESS) return { valid: unlocking ? i : 0, refusal };
  }
  return { valid: locks.length, refusal: locks.length === 0 ? Status.INVALID_PARAMETER : Status.SUCCESS };
}

function checkUnlock({ flags, offset, length }: LockElement): number {
  return flags === LockFlags.UNLOCK ? checkRange(offset, length) : Status.INVALID_PARAMETER;
}

function checkLock({ flags, offset, length }: LockElement, count: number): number {
  const failsImmediately = (flags & LockFlags.FAIL_IMMEDIATELY) !== 0;
  if (!isLockKind(flags & ~LockFlags.FAIL_IMMEDIATELY)) return Status.INVALID_PARAMETER;
  // Only one lock may wait: several are taken together or not at all.
  if (!failsImmediately && count > 1) return Status.INVALID_PARAMETER;
  return checkRange(offset, length);
}

function checkRange(offset: bigint, length: bigint): number {
  return length > 0n && offset > LAST_BYTE - (length - 1n) ? Status.INVALID_LOCK_RANGE : Status.SUCCESS;
}

const isLockKind = (kind: number): boolean => kind === LockFlags.SHARED_LOCK || kind === LockFlags.EXCLUSIVE_LOCK;

function tableElement({ offset, length, flags }: LockElement): TableElement {
  return {
    offset,
    length,
    exclusive: (flags & LockFlags.EXCLUSIVE_LOCK) !== 0,
    unlock: (flags & LockFlags.UNLOCK) !== 0,
    failImmediately: (flags & LockFlags.FAIL_IMMEDIATELY) !== 0,
  };
}

/** Sequences tell a replay from a new request, on opens that outlive a connection or have several (3.3.5.14). */
function keepsSequence(request: Request, open: OpenFile, index: number): boolean {
  if (index === 0 || index > MAXIMUM_SEQUENCE_INDEX) return false;
  const { dialect, serverCapabilities } = request.connection;
  if (dialect <= Dialect.SMB_2_0_2) return false;
  if (open.record.durability !== Durability.NOT_DURABLE) return true;
  return dialect >= Dialect.SMB_3_0 && (serverCapabilities & Capabilities.MULTI_CHANNEL) !== 0;
}

async function decide(
  request: Request,
  open: OpenFile,
  elements: TableElement[],
  { sequenceIndex, sequenceNumber }: { sequenceIndex: number; sequenceNumber: number },
): Promise<Reply> {
  const { fileId, openId } = open.record;
  const wanted = elements.filter(({ unlock }) => !unlock).length;
  if (wanted > 0 && request.services.opens.lockCount.locks + wanted > MAX_LOCKS) {
    return statusReply(Status.INSUFFICIENT_RESOURCES);
  }
  await stableBeforeUnlock(open, elements);
  const { outcome, value } = await request.services.handles.lock(
    { fileId, openId, elements, sequenceIndex, sequenceNumber, processKey: 0 },
    waiterOf(request, open),
  );
  // A lock that waits ends with its open (3.3.5.10), or with the session (3.3.5.6).
  if (outcome === Outcome.CANCELLED && (open.closing || request.session.state === 'Ended'))
    return statusReply(Status.RANGE_NOT_LOCKED);
  if (outcome !== Outcome.GRANTED) return statusReply(changeStatusOf(outcome));
  if (value) open.file.take(value);
  if (!open.folder.volume.coherent && elements.some(({ unlock }) => !unlock)) await open.revalidate();
  return reply(encodeLockResponse());
}

/** Who gets the lock next must find what was written under it, also on volumes whose nodes cache on their own. */
async function stableBeforeUnlock(open: OpenFile, elements: readonly TableElement[]): Promise<void> {
  if (open.folder.volume.coherent || !open.unstable || !elements.some(({ unlock }) => unlock)) return;
  await open.stabilize();
}

/** The request gives up waiting when it is cancelled, and when its open is closed. */
function waiterOf(request: Request, open: OpenFile): Waiter {
  return {
    goAsync: () => request.goAsync(),
    get signal() {
      return AbortSignal.any([request.signal, open.signal]);
    },
  };
}
