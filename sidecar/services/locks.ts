import { type BreakDirectory, type FileState, type Lock, Outcome } from '../../proto/generated/handles.ts';
import { LeaseState, LOCK_RETRY_MS, MAX_FILE_ID_BYTES, MAX_LOCK_ELEMENTS } from '../constants.ts';
import { hex } from '../table/keys.ts';
import { ownerOf } from '../table/records.ts';
import { Internal, type LockDecision } from '../table/table.ts';
import type { Components } from './components.ts';
import type { Member, OwnOpen } from './member.ts';
import type { Pending } from './pending.ts';

/** How often a LOCK looks up the number of the open's last operation before it gives up. */
const CATCH_UPS = 3;
/** A lock sequence that no request has (theirs are of 4 bits): what is kept under its index is forgotten. */
const NO_SEQUENCE = 255;

type Attempt = LockDecision & { operation: number };

const NOT_HERE: Attempt = {
  ...{ outcome: Outcome.STORE_UNAVAILABLE, notices: [], push: [], wake: [] },
  ...{ sequences: Buffer.alloc(0), operation: 0 },
};

/** Byte-range locks: decided by the table, answered after every server that has the file open knows of them. */
export class Locks {
  readonly #is: Components;

  constructor(components: Components) {
    this.#is = components;
  }

  /** MS-SMB2 3.3.5.14. A request that must wait is answered interim at once, and finally when granted or cancelled. */
  async lock(member: Member, request: Lock, pending: Pending): Promise<{ outcome: number; state?: FileState }> {
    const open = member.opens.get(request.openId);
    if (!open || open.fileHex !== hex(request.fileId)) return { outcome: Outcome.NOT_FOUND };
    const { elements } = request;
    if (elements.length === 0 || elements.length > MAX_LOCK_ELEMENTS || request.sequenceNumber > 255)
      return { outcome: Outcome.INVALID };
    const mayWait = elements.some((element) => !element.unlock && !element.failImmediately);
    for (let behind = 0; ; ) {
      const decision = await this.#is.breaks.settled(member, request.fileId, pending, () =>
        member.inTurn(open, async () => {
          // An earlier process of this sidecar counted its operations: the next number is above those.
          if (open.isReported) await this.#catchUp(member, open);
          // It went to another server and came back while this waited: its client has another session, and repeated this there.
          if (member.opens.get(request.openId) !== open) return NOT_HERE;
          return this.#attempt(member, open, request, mayWait);
        }),
      );
      if (decision.outcome === Internal.STALE && behind++ < CATCH_UPS && (await this.#catchUp(member, open))) continue;
      if (decision.outcome !== Outcome.LOCK_NOT_GRANTED || !mayWait)
        return this.#follow(member, open, request, decision);
      if (pending.cancelled) return { outcome: Outcome.CANCELLED };
      pending.interim();
      await this.#is.room.wait(member, open.fileHex, pending, LOCK_RETRY_MS);
      if (pending.cancelled) return { outcome: Outcome.CANCELLED };
    }
  }

  /** The state of a file, from the table. */
  async look(member: Member, fileId: Uint8Array): Promise<{ outcome: number; state?: FileState }> {
    const { outcome, state } = await this.#is.table.state(member.identity, fileId, 'look', 0n);
    return state ? { outcome, state: member.takeState(state) } : { outcome };
  }

  /** Somebody is about to change the file's data: nobody else caches reads from here on (MS-FSA 2.1.4.12, WRITE). */
  async breakReadCaching(
    member: Member,
    fileId: Uint8Array,
    openId: bigint,
    pending: Pending,
  ): Promise<{ outcome: number; state?: FileState }> {
    const { table, breaks } = this.#is;
    const { outcome, state } = await breaks.settled(member, fileId, pending, (again) =>
      table.breakCaching(member.identity, fileId, { openId }, { keep: 0, waitFor: LeaseState.WRITE, again }),
    );
    return state ? { outcome, state: member.takeState(state) } : { outcome };
  }

  /**
   * Something in a directory has changed: leases on it end, but for the one that the change came with (MS-FSA 2.1.4.12, PARENT_OBJECT).
   * Nobody waits for the acknowledgement.
   */
  async breakDirectory(member: Member, { directoryId, clientGuid, parentKey }: BreakDirectory): Promise<number> {
    const { table, breaks } = this.#is;
    if (directoryId.length === 0 || directoryId.length > MAX_FILE_ID_BYTES) return Outcome.INVALID;
    const lease = parentKey.length === 16 ? Buffer.concat([clientGuid, parentKey]) : Buffer.alloc(0);
    const how = { keep: 0, waitFor: 0, again: false };
    const { notices } = await table.breakCaching(member.identity, directoryId, { openId: 0n, lease }, how);
    await breaks.begin(directoryId, notices);
    return Outcome.GRANTED;
  }

  /**
   * The table has seen a later operation of this open than this process knows of: one that a sidecar which died had sent, and that was
   * carried out after its successor had loaded the open. @returns whether to try again, above that number
   */
  async #catchUp(member: Member, open: OwnOpen): Promise<boolean> {
    const { fileId, openId } = open.record;
    const found = await this.#is.table.find(member.identity, fileId, Buffer.alloc(0), openId);
    if (!found.record || ownerOf(found.record) !== member.owner) return false;
    member.learn(open, found.record, found.operation);
    return true;
  }

  async #attempt(member: Member, open: OwnOpen, request: Lock, wait: boolean): Promise<Attempt> {
    const { table } = this.#is;
    const operation = ++open.operation;
    const sequence = { index: request.sequenceIndex, number: request.sequenceNumber };
    const decision = await table.lock(
      member.identity,
      request.fileId,
      request.openId,
      operation,
      sequence,
      request.elements,
      wait,
      (late) => {
        // The file server was told STORE_UNAVAILABLE meanwhile.
        if (late.outcome === Outcome.GRANTED) this.#undo(member, open, request, operation).catch(() => {});
      },
    );
    return { ...decision, operation };
  }

  /**
   * Lets go of what a LOCK took whose client was not told so. Its lock sequence is forgotten with it: a replay has to take the lock anew,
   * and not to be told that it has it. Where something was done through the open since, that may have been the replay, and it was told:
   * then the lock is the client's.
   */
  async #undo(member: Member, open: OwnOpen, request: Lock, operation: number): Promise<void> {
    const elements = request.elements
      .filter((element) => !element.unlock)
      .map((element) => ({ ...element, unlock: true }));
    if (elements.length === 0) return;
    await member.inTurn(open, async () => {
      if (open.operation !== operation) return;
      const undone = await this.#attempt(member, open, { ...request, elements, sequenceNumber: NO_SEQUENCE }, false);
      this.#remember(member, open, undone);
    });
  }

  #remember(member: Member, open: OwnOpen, { state, sequences }: LockDecision): FileState | undefined {
    if (sequences.length > 0) {
      open.record.lockSequences = sequences;
      open.isReported = false; // the table said all that there is
    }
    const newest = state && member.takeState(state);
    if (newest) open.record.locks = newest.locks.filter((lock) => lock.openId === open.record.openId);
    return newest;
  }

  async #follow(
    member: Member,
    open: OwnOpen,
    request: Lock,
    decision: Attempt,
  ): Promise<{ outcome: number; state?: FileState }> {
    const { delivery } = this.#is;
    if (decision.outcome === Internal.STALE) return { outcome: Outcome.INVALID };
    if (!decision.state) return { outcome: decision.outcome };
    const state = this.#remember(member, open, decision);
    if (decision.wake.length > 0) delivery.wake(request.fileId, decision.wake);
    const taken = await delivery.pushState(decision.state, decision.push);
    const locked = request.elements.some((element) => !element.unlock);
    if (!taken && locked && decision.outcome === Outcome.GRANTED) {
      await this.#undo(member, open, request, decision.operation);
      return { outcome: Outcome.STORE_UNAVAILABLE };
    }
    return { outcome: decision.outcome, state };
  }
}
