import { EventEmitter } from 'node:events';
import { Command, OplockLevel } from '../../smb/constants.ts';
import { Status, statusName } from '../../smb/status.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import {
  decodeOplockBreakResponse,
  encodeOplockBreakRequest,
  type OplockBreakRequest,
} from '../../smb/wire/oplock-break.ts';
import { addressText } from '../connect/address.ts';
import { isConnectionLoss, SmbError } from '../errors.ts';
import { Backoff } from './backoff.ts';
import { REFUSALS_BEFORE_GIVING_UP } from './constants.ts';
import { reclaimingRequest } from './create-parameters.ts';
import { orAborted } from './deadlines.ts';
import { establishLink, type Link, type LinkOptions } from './link.ts';
import type { Open } from './open.ts';
import { reactionTo } from './statuses.ts';

export interface FailoverEvents {
  failoverStarted: [{ from: string; reason: SmbError }];
  /** All handles are reclaimed or lost. `durationMs`: from when the client noticed the loss. `connectedMs`: until the share was connected again. */
  failoverEnded: [
    { from: string; to: string; durationMs: number; connectedMs: number; reclaimed: number; lost: number },
  ];
  handleLost: [{ path: string; error: SmbError }];
  attemptFailed: [{ address: string | undefined; error: unknown }];
  /** The client gave up: nothing works any more. */
  failed: [SmbError];
}

/** Lease break acknowledgements are needed only when the server says so (MS-SMB2 2.2.23.2). */
const ACK_REQUIRED = 0x1;

interface Running {
  from: string;
  startedMs: number;
  lost: number;
}

/**
 * Keeps a client linked to some server: when the link is lost it establishes another one, takes the session over, gets
 * every handle back, and says when operations can go on.
 */
export class Failover extends EventEmitter<FailoverEvents> {
  readonly #options: LinkOptions;
  readonly #opens = new Set<Open>();
  /** By the persistent half of the FileId, which outlives a reclaim. */
  readonly #byId = new Map<bigint, Open>();
  readonly #failedAtMs = new Map<string, number>();
  readonly #closing = new AbortController();
  #link: Link | undefined;
  #ready = Promise.withResolvers<Link>();
  #failed: SmbError | undefined;
  #running: Running | undefined;
  #previousSessionId = 0n;
  #refusals = 0;
  #untilRoom = new Backoff();
  channelSequence = 0;

  constructor(options: LinkOptions) {
    super();
    this.#options = { ...options, onAttemptFailed: (address, error) => this.emit('attemptFailed', { address, error }) };
    this.#ready.promise.catch(() => undefined);
  }

  /** Links for the first time; a refusal (wrong password, no such share) is final here. */
  async start(signal: AbortSignal): Promise<void> {
    const link = await establishLink(this.#options, 0n, this.#failedAtMs, () => true, signal);
    this.#adopt(link);
  }

  /** The link of now, if there is one. */
  get link(): Link | undefined {
    return this.#link;
  }

  /** Waits for a link. Rejects with the signal's reason, or with why the client gave up or was closed. */
  linked(signal: AbortSignal): Promise<Link> {
    if (this.#link) return Promise.resolve(this.#link);
    if (this.#failed) return Promise.reject(this.#failed);
    return orAborted(this.#ready.promise, signal);
  }

  /** Waits until an open can be used, and on which link. */
  async usable(open: Open, signal: AbortSignal): Promise<Link> {
    for (;;) {
      open.assertUsable();
      const link = this.#link ?? (await this.linked(signal));
      if (open.link === link) return link;
      open.reclaiming ??= this.#reclaim(open, link);
      await orAborted(open.reclaiming, signal);
    }
  }

  add(open: Open): void {
    this.#opens.add(open);
    this.#byId.set(open.fileId.persistent, open);
    // The link may have gone between the answer and now.
    if (open.link !== this.#link) this.#cutOff(open);
  }

  remove(open: Open): void {
    open.markClosed();
    this.#opens.delete(open);
    if (this.#byId.get(open.fileId.persistent) === open) this.#byId.delete(open.fileId.persistent);
  }

  /** The server does not know an open that should be there: get it back on the same link. */
  cutOff(open: Open): void {
    this.#cutOff(open);
  }

  /** Gives this link up, as its session or share is gone. */
  abandon(link: Link, reason: SmbError): void {
    link.connection.close(reason);
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const error = new SmbError('CLIENT_CLOSED', 'the client was closed');
    this.#closing.abort(error);
    const link = this.#link;
    this.#link = undefined;
    this.#giveUp(error);
    await link?.session.logoff();
  }

  #adopt(link: Link): void {
    this.#link = link;
    this.#previousSessionId = link.session.sessionId;
    this.#failedAtMs.delete(addressText(link.connection.address));
    this.#refusals = 0;
    const reclaims = [...this.#opens].map((open) => {
      open.reclaiming = this.#reclaim(open, link);
      return open.reclaiming;
    });
    const connectedAtMs = performance.now();
    this.#ready.resolve(link);
    link.connection.listen({
      // Later: the CREATE that the break is about may have been answered in the same segment, and not be seen yet.
      onBreak: (message) => setImmediate(() => this.#acknowledgeBreak(link, message)),
      onLost: (reason) => this.#onLost(link, reason),
    });
    void Promise.all(reclaims).then(() => this.#ended(link, connectedAtMs, reclaims.length));
  }

  #onLost(link: Link, reason: SmbError): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    this.#ready = Promise.withResolvers<Link>();
    this.#ready.promise.catch(() => undefined);
    const from = addressText(link.connection.address);
    const nowMs = performance.now();
    this.#failedAtMs.set(from, nowMs);
    // Tells the server's leftovers of before the loss from what comes now (MS-SMB2 3.2.7.1).
    this.channelSequence = (this.channelSequence + 1) & 0xffff;
    if (!this.#running) {
      this.#running = { from, startedMs: nowMs, lost: 0 };
      this.emit('failoverStarted', { from, reason });
    }
    for (const open of this.#opens) this.#cutOff(open);
    void this.#relink();
  }

  async #relink(): Promise<void> {
    const mayGiveUp = () => ++this.#refusals >= REFUSALS_BEFORE_GIVING_UP;
    try {
      const link = await establishLink(
        this.#options,
        this.#previousSessionId,
        this.#failedAtMs,
        mayGiveUp,
        this.#closing.signal,
      );
      if (this.#closing.signal.aborted) await link.session.logoff();
      else this.#adopt(link);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      this.#giveUp(error as SmbError);
      this.emit('failed', error as SmbError);
    }
  }

  #ended(link: Link, connectedAtMs: number, handles: number): void {
    const running = this.#running;
    if (!running || this.#link !== link) return;
    this.#running = undefined;
    this.#untilRoom = new Backoff();
    this.emit('failoverEnded', {
      from: running.from,
      to: addressText(link.connection.address),
      durationMs: performance.now() - running.startedMs,
      connectedMs: connectedAtMs - running.startedMs,
      reclaimed: handles - running.lost,
      lost: running.lost,
    });
  }

  #giveUp(error: SmbError): void {
    this.#failed = error;
    this.#ready.reject(error);
    for (const open of this.#opens) open.lose(error);
    this.#opens.clear();
    this.#byId.clear();
  }

  #cutOff(open: Open): void {
    // Where it was not got back in between its server counts from the first time.
    if (open.link) open.cutOffAtMs = performance.now();
    open.link = undefined;
    open.reclaiming = undefined;
    if (open.durability === 'none' && open.closeSent) this.remove(open);
    else if (open.durability === 'none') this.#lose(open, 'the server keeps no handle of a connection that is gone');
  }

  #lose(open: Open, why: string, status?: number): void {
    const error = new SmbError('HANDLE_LOST', `the handle of ${open.path} is lost: ${why}`, { status });
    open.lose(error);
    this.#opens.delete(open);
    this.#byId.delete(open.fileId.persistent);
    if (this.#running) this.#running.lost++;
    this.emit('handleLost', { path: open.path, error });
  }

  /** Gets one open back on a link (MS-SMB2 3.2.4.4). Never rejects. */
  async #reclaim(open: Open, link: Link): Promise<void> {
    const backoff = new Backoff();
    const body = encodeCreateRequest(reclaimingRequest(open.parameters, open));
    while (this.#link === link && !open.lost && !open.closed) {
      let status: number;
      try {
        const response = await link.session.send({
          command: Command.CREATE,
          body,
          treeId: link.tree.treeId,
          channelSequence: this.channelSequence,
          signal: this.#closing.signal,
        });
        status = response.status;
        if (status === Status.SUCCESS) return this.#reclaimed(open, link, response.message);
        if (reactionTo(status) === 'reconnect') {
          return this.abandon(
            link,
            new SmbError('CONNECTION_LOST', `reclaiming ${open.path}: ${statusName(status)}`, { status }),
          );
        }
        // Its CLOSE was carried out before the connection was lost.
        if (open.closeSent && status === Status.OBJECT_NAME_NOT_FOUND) return this.remove(open);
        const waitedMs = performance.now() - open.cutOffAtMs;
        if (status === Status.INSUFFICIENT_RESOURCES && waitedMs <= open.timeoutMs) {
          // This server has no room for it (docs/limits.md): another may have, or this one later.
          await this.#untilRoom.wait(this.#closing.signal);
          return this.abandon(
            link,
            new SmbError('CONNECTION_LOST', `reclaiming ${open.path}: no room there`, { status }),
          );
        }
        if (reactionTo(status) !== 'retry' || waitedMs > open.timeoutMs) {
          return this.#lose(open, `reclaiming it was answered ${statusName(status)}`, status);
        }
        await backoff.wait(this.#closing.signal);
      } catch (error) {
        // The next link takes it up again.
        if (isConnectionLoss(error) || this.#closing.signal.aborted) return;
        return this.#lose(open, (error as Error).message);
      }
    }
  }

  #reclaimed(open: Open, link: Link, message: Buffer): void {
    const { fileId, oplockLevel } = decodeCreateResponse(message);
    if (this.#byId.get(open.fileId.persistent) === open) this.#byId.delete(open.fileId.persistent);
    this.#byId.set(fileId.persistent, open);
    open.fileId = fileId;
    open.oplockLevel = oplockLevel;
    open.link = link;
  }

  /** Nothing is cached here, so every break can be acknowledged at once (MS-SMB2 3.2.5.19). */
  #acknowledgeBreak(link: Link, message: Buffer): void {
    if (this.#link !== link) return;
    let request: OplockBreakRequest;
    try {
      const notice = decodeOplockBreakResponse(message);
      if (notice.kind === 'oplock') {
        const open = this.#byId.get(notice.fileId.persistent);
        if (!open) return;
        const held = open.oplockLevel;
        open.oplockLevel = notice.oplockLevel;
        if (held !== OplockLevel.EXCLUSIVE && held !== OplockLevel.BATCH) return;
        request = { kind: 'oplock', oplockLevel: notice.oplockLevel, fileId: open.fileId };
      } else if (notice.kind === 'lease-break') {
        if ((notice.flags & ACK_REQUIRED) === 0) return;
        request = { kind: 'lease', leaseKey: notice.leaseKey, leaseState: notice.newLeaseState };
      } else {
        return;
      }
    } catch (error) {
      this.abandon(link, new SmbError('PROTOCOL_VIOLATION', `OPLOCK_BREAK: ${(error as Error).message}`));
      return;
    }
    // The outcome changes nothing: a lost connection is noticed elsewhere, and a refusal says that the oplock is gone already.
    link.session
      .send({ command: Command.OPLOCK_BREAK, body: encodeOplockBreakRequest(request), treeId: link.tree.treeId })
      .catch(() => undefined);
  }
}
