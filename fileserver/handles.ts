// The only door to the sidecar.
import {
  type BeginRename,
  type BreakAck,
  type BreakDirectory,
  type BreakReadCaching,
  type Changes,
  type ClaimSession,
  type Close,
  type CloseOpens,
  type CloseOpensReply,
  type CloseReply,
  type Disconnect,
  type EndRename,
  type FileGone,
  type FileState,
  type FindCreate,
  type Lease,
  type Lock,
  type LockedFiles,
  type Open,
  type OpenReply,
  Outcome,
  type Reclaim,
  type Reply,
  type Reserve,
  type Reserved,
  type SetDeletePending,
  type StoreSession,
  type UpdateOpen,
  type Watch,
} from '../proto/generated/handles.ts';
import type { HandlesStream, RequestBody } from './handles/stream.ts';
import type { Waiter } from './handles/waiter.ts';

export { statusOfOutcome } from './handles/outcome.ts';
export type { Waiter } from './handles/waiter.ts';

/** The sidecar's reply: the outcome, and what comes with it. */
export interface Decision<T> {
  readonly outcome: Outcome;
  /** Undefined where the outcome brings nothing. */
  readonly value: T | undefined;
}

/**
 * Asks the sidecar. Every method resolves with its decision and never rejects: while the sidecar is away requests wait (they are
 * repeated when it is back), and end with STORE_UNAVAILABLE if that takes too long, with FENCED if this server was.
 * Requests of one event-loop turn travel in one frame, in the order in which they were made.
 */
export interface Handles {
  findCreate(request: FindCreate, waiter?: Waiter): Promise<Decision<OpenReply>>;
  /** Without a value from a sidecar that does not tell. */
  reserve(request: Reserve, waiter?: Waiter): Promise<Decision<Reserved>>;
  /** NOT_FOUND also from a sidecar that does not know of this. */
  resumeCreation(request: Reserve, waiter?: Waiter): Promise<Decision<undefined>>;
  /** Nobody waits for it: it is asked for again until the table has let go of the name. */
  dropReservation(request: Reserve): void;
  open(request: Open, waiter?: Waiter): Promise<Decision<OpenReply>>;
  close(request: Close): Promise<Decision<CloseReply>>;
  /** Without a value, and INVALID, from a sidecar that does not know of this. */
  closeAll(request: CloseOpens): Promise<Decision<CloseOpensReply>>;
  disconnect(request: Disconnect): Promise<Decision<CloseReply>>;
  reclaim(request: Reclaim, waiter?: Waiter): Promise<Decision<OpenReply>>;
  updateOpen(request: UpdateOpen): Promise<Decision<undefined>>;
  lock(request: Lock, waiter?: Waiter): Promise<Decision<FileState>>;
  lockedFiles(request: LockedFiles): Promise<Decision<FileState>>;
  setDeletePending(request: SetDeletePending, waiter?: Waiter): Promise<Decision<undefined>>;
  fileGone(request: FileGone): Promise<Decision<undefined>>;
  beginRename(request: BeginRename, waiter?: Waiter): Promise<Decision<undefined>>;
  endRename(request: EndRename): Promise<Decision<undefined>>;
  breakAck(request: BreakAck): Promise<Decision<Lease>>;
  breakDirectory(request: BreakDirectory): Promise<Decision<undefined>>;
  breakReadCaching(request: BreakReadCaching, waiter?: Waiter): Promise<Decision<FileState>>;
  storeSession(request: StoreSession): Promise<Decision<undefined>>;
  endSession(sessionId: bigint): Promise<Decision<undefined>>;
  claimSession(request: ClaimSession, waiter?: Waiter): Promise<Decision<undefined>>;
  quiesced(openId: bigint): Promise<Decision<undefined>>;
  watch(request: Watch): Promise<Decision<undefined>>;
  changes(request: Changes): Promise<Decision<undefined>>;
  /** An open has left this process without a close or disconnect: the sidecar knows better whose it is. */
  gone(openId: bigint): void;
}

/** The Handles of a stream. */
export function handlesOn(stream: HandlesStream): Handles {
  const plain = (body: RequestBody, waiter?: Waiter) => stream.askFor(plainDecision, body, waiter);
  const open = (body: RequestBody, waiter?: Waiter) => stream.askFor(openDecision, body, waiter);
  const close = (body: RequestBody) => stream.askFor(closeDecision, body);
  const fileState = (body: RequestBody, waiter?: Waiter) => stream.askFor(fileStateDecision, body, waiter);
  return {
    findCreate: (value, waiter) => open({ $case: 'findCreate', value }, waiter),
    reserve: (value, waiter) => stream.askFor(reservedDecision, { $case: 'reserve', value }, waiter),
    resumeCreation: async (value, waiter) => {
      const { outcome } = await plain({ $case: 'resumeCreation', value }, waiter);
      return { outcome: outcome === Outcome.INVALID ? Outcome.NOT_FOUND : outcome, value: undefined };
    },
    dropReservation: (value) => void plain({ $case: 'dropReservation', value }),
    open: (value, waiter) => open({ $case: 'open', value }, waiter),
    close: (value) => close({ $case: 'close', value }),
    closeAll: (value) => stream.askFor(closedOpensDecision, { $case: 'closeOpens', value }),
    disconnect: (value) => close({ $case: 'disconnect', value }),
    reclaim: (value, waiter) => open({ $case: 'reclaim', value }, waiter),
    updateOpen: (value) => plain({ $case: 'updateOpen', value }),
    lock: (value, waiter) => fileState({ $case: 'lock', value }, waiter),
    lockedFiles: (value) => fileState({ $case: 'lockedFiles', value }),
    setDeletePending: (value, waiter) => plain({ $case: 'setDeletePending', value }, waiter),
    fileGone: (value) => plain({ $case: 'fileGone', value }),
    beginRename: (value, waiter) => plain({ $case: 'beginRename', value }, waiter),
    endRename: (value) => plain({ $case: 'endRename', value }),
    breakAck: (value) => stream.askFor(leaseDecision, { $case: 'breakAck', value }),
    breakDirectory: (value) => plain({ $case: 'breakDirectory', value }),
    breakReadCaching: (value, waiter) => fileState({ $case: 'breakReadCaching', value }, waiter),
    storeSession: (value) => plain({ $case: 'storeSession', value }),
    endSession: (sessionId) => plain({ $case: 'endSession', value: { sessionId } }),
    claimSession: (value, waiter) => plain({ $case: 'claimSession', value }, waiter),
    quiesced: (openId) => plain({ $case: 'quiesced', value: { openId } }),
    watch: (value) => plain({ $case: 'watch', value }),
    changes: (value) => plain({ $case: 'changes', value }),
    gone: () => {},
  };
}

const plainDecision = ({ outcome }: Reply): Decision<undefined> => ({ outcome, value: undefined });

const openDecision = ({ outcome, body }: Reply): Decision<OpenReply> => ({
  outcome,
  value: body?.$case === 'open' ? body.value : undefined,
});

const closeDecision = ({ outcome, body }: Reply): Decision<CloseReply> => ({
  outcome,
  value: body?.$case === 'close' ? body.value : undefined,
});

const closedOpensDecision = ({ outcome, body }: Reply): Decision<CloseOpensReply> => ({
  outcome,
  value: body?.$case === 'closedOpens' ? body.value : undefined,
});

const reservedDecision = ({ outcome, body }: Reply): Decision<Reserved> => ({
  outcome,
  value: body?.$case === 'reserved' ? body.value : undefined,
});

const leaseDecision = ({ outcome, body }: Reply): Decision<Lease> => ({
  outcome,
  value: body?.$case === 'lease' ? body.value : undefined,
});

const fileStateDecision = ({ outcome, body }: Reply): Decision<FileState> => ({
  outcome,
  value: body?.$case === 'fileState' ? body.value : undefined,
});
