import { Durability, Outcome, type LockElement as TableElement } from '../../proto/generated/handles.ts';
import { Dialect, LockFlags } from '../../smb/constants.ts';
import { Access } from '../../smb/security/access-mask.ts';
import { Status } from '../../smb/status.ts';
import { decodeLockRequest, encodeLockResponse, type LockElement } from '../../smb/wire/lock.ts';
import type { Waiter } from '../handles.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { type Reply, type Request, reply, statusReply } from '../session/request.ts';
import { changeStatusOf } from './change-status.ts';
import { onVolume, openOf } from './open-of.ts';

const KINDS = LockFlags.SHARED_LOCK | LockFlags.EXCLUSIVE_LOCK | LockFlags.UNLOCK;
const LAST_BYTE = 0xffff_ffff_ffff_ffffn;
const MAXIMUM_SEQUENCE_INDEX = 64;

/** LOCK (MS-SMB2 3.3.5.14): locks are the table's, for the whole cluster. */
export const lock = onVolume((request: Request): Reply | Promise<Reply> => {
  const wanted = decodeLockRequest(request.message);
  const open = openOf(request, wanted.fileId);
  if (open === undefined) return statusReply(Status.FILE_CLOSED);
  if (open.isDirectory) return statusReply(Status.INVALID_DEVICE_REQUEST);
  const refusal = checkElements(wanted.locks);
  if (refusal !== Status.SUCCESS) return statusReply(refusal);
  const elements = wanted.locks.map(tableElement);
  const unlocks = elements.some(({ unlock }) => unlock);
  if (!unlocks && !open.mayAny(Access.readData | Access.writeData | Access.appendData | Access.execute)) {
    return statusReply(Status.ACCESS_DENIED);
  }
  const sequenceIndex = keepsSequence(request, open, wanted.lockSequenceIndex) ? wanted.lockSequenceIndex : 0;
  return decide(request, open, elements, { sequenceIndex, sequenceNumber: wanted.lockSequenceNumber });
});

/** MS-SMB2 3.3.5.14.1 and .2: what makes the whole request invalid; SUCCESS if nothing does. */
export function checkElements(locks: readonly LockElement[]): number {
  const first = locks[0];
  if (first === undefined) return Status.INVALID_PARAMETER;
  const unlocking = (first.flags & LockFlags.UNLOCK) !== 0;
  for (const { flags, offset, length } of locks) {
    if ((flags & ~(KINDS | LockFlags.FAIL_IMMEDIATELY)) !== 0) return Status.INVALID_PARAMETER;
    const kind = flags & KINDS;
    if (unlocking ? flags !== LockFlags.UNLOCK : !isLockKind(kind)) return Status.INVALID_PARAMETER;
    // Only one lock may wait: several are taken together or not at all.
    const waits = !unlocking && (flags & LockFlags.FAIL_IMMEDIATELY) === 0;
    if (waits && locks.length > 1) return Status.INVALID_PARAMETER;
    if (length > 0n && offset > LAST_BYTE - (length - 1n)) return Status.INVALID_LOCK_RANGE;
  }
  return Status.SUCCESS;
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

/** Sequences tell a replay from a new request, on opens that outlive a connection (3.3.5.14). */
function keepsSequence(request: Request, open: OpenFile, index: number): boolean {
  if (index === 0 || index > MAXIMUM_SEQUENCE_INDEX) return false;
  return request.connection.dialect >= Dialect.SMB_3_0 && open.record.durability !== Durability.NOT_DURABLE;
}

async function decide(
  request: Request,
  open: OpenFile,
  elements: TableElement[],
  { sequenceIndex, sequenceNumber }: { sequenceIndex: number; sequenceNumber: number },
): Promise<Reply> {
  const { fileId, openId } = open.record;
  await stableBeforeUnlock(open, elements);
  const { outcome, value } = await request.services.handles.lock(
    { fileId, openId, elements, sequenceIndex, sequenceNumber, processKey: 0 },
    waiterOf(request, open),
  );
  // A lock that waits ends with its open (3.3.5.10).
  if (outcome === Outcome.CANCELLED && open.closing) return statusReply(Status.RANGE_NOT_LOCKED);
  if (outcome !== Outcome.GRANTED) return statusReply(changeStatusOf(outcome));
  if (value) open.file.take(value);
  return reply(encodeLockResponse());
}

/** Who gets the lock next must find what was written under it, also on volumes whose nodes cache on their own. */
async function stableBeforeUnlock(open: OpenFile, elements: readonly TableElement[]): Promise<void> {
  if (open.folder.volume.coherent || !open.unstable || !elements.some(({ unlock }) => unlock)) return;
  await open.folder.posix.sync(open.fd);
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
