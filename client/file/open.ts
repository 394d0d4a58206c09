import { DurableFlags } from '../../smb/constants.ts';
import type { CreateResponse } from '../../smb/wire/create.ts';
import { CreateContextName, decodeDH2QResponse, findCreateContext } from '../../smb/wire/create-contexts.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { SmbError } from '../errors.ts';
import { LOCK_BUCKETS, RECLAIM_TIMEOUT_MS } from './constants.ts';
import type { CreateParameters, Durability } from './create-parameters.ts';
import type { Link } from './link.ts';

/** An open on a server, across the connections that it lives on (MS-SMB2 3.2.1.6). */
export class Open {
  readonly parameters: CreateParameters;
  /** What the server granted. */
  readonly durability: Durability;
  /** How long the server keeps it without its client. */
  readonly timeoutMs: number;
  fileId: FileId;
  oplockLevel: number;
  /** The link that `fileId` is good for; undefined while it has to be reclaimed. */
  link: Link | undefined;
  /** Ends when the open is usable again, is lost, or has to wait for another link. Never rejects. */
  reclaiming: Promise<void> | undefined;
  /** A CLOSE was sent: a server that does not know the open any more has carried it out. */
  closeSent = false;
  /** When it was last cut off from its server, performance.now(). */
  cutOffAtMs = 0;
  #lost: SmbError | undefined;
  #closed = false;
  readonly #lockSequences = new Uint8Array(LOCK_BUCKETS + 1);
  readonly #freeBuckets = Array.from({ length: LOCK_BUCKETS }, (_, i) => LOCK_BUCKETS - i);

  /** `reclaimed`: the response is that of a reclaim, which does not say again what was granted. */
  constructor(parameters: CreateParameters, response: CreateResponse, link: Link, reclaimed = false) {
    const granted = reclaimed
      ? { durability: parameters.durability, timeoutMs: RECLAIM_TIMEOUT_MS }
      : grantedDurability(parameters, response);
    this.parameters = parameters;
    this.durability = granted.durability;
    this.timeoutMs = granted.timeoutMs;
    this.fileId = response.fileId;
    this.oplockLevel = response.oplockLevel;
    this.link = link;
  }

  get path(): string {
    return this.parameters.path;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get lost(): SmbError | undefined {
    return this.#lost;
  }

  lose(error: SmbError): void {
    this.#lost ??= error;
    this.link = undefined;
  }

  markClosed(): void {
    this.#closed = true;
    this.link = undefined;
  }

  /** Throws SmbError HANDLE_CLOSED or HANDLE_LOST. */
  assertUsable(): void {
    if (this.#lost) throw this.#lost;
    if (this.#closed) throw new SmbError('HANDLE_CLOSED', `${this.path} was closed by its user`);
  }

  /**
   * A lock sequence for one LOCK request (MS-SMB2 3.2.4.19): with it the server knows a replayed request. Index 0, which
   * means none, when all are in use.
   */
  takeLockSequence(): { lockSequenceIndex: number; lockSequenceNumber: number } {
    const index = this.#freeBuckets.pop() ?? 0;
    if (index === 0) return { lockSequenceIndex: 0, lockSequenceNumber: 0 };
    return { lockSequenceIndex: index, lockSequenceNumber: this.#lockSequences[index] ?? 0 };
  }

  /** To be called when the request has its answer. */
  giveBackLockSequence(index: number): void {
    if (index === 0) return;
    this.#lockSequences[index] = ((this.#lockSequences[index] ?? 0) + 1) % 16;
    this.#freeBuckets.push(index);
  }
}

function grantedDurability(parameters: CreateParameters, response: CreateResponse) {
  const data = findCreateContext(response.createContexts, CreateContextName.DURABLE_HANDLE_REQUEST_V2);
  if (!data) return { durability: 'none' as Durability, timeoutMs: 0 };
  const { flags, timeoutMs } = decodeDH2QResponse(data);
  const persistent = (flags & DurableFlags.PERSISTENT) !== 0 && parameters.durability === 'persistent';
  const durability: Durability = persistent ? 'persistent' : 'durable';
  return { durability, timeoutMs: timeoutMs === 0 ? RECLAIM_TIMEOUT_MS : timeoutMs };
}
