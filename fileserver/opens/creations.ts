import type { OpenFile } from './open-file.ts';

/** What a CREATE is known by when its client repeats it: Open.CreateGuid and Open.ClientGuid, 16 bytes each. */
export function replayKeyOf(createGuid: Buffer, clientGuid: Buffer): string {
  return createGuid.toString('latin1') + clientGuid.toString('latin1');
}

/**
 * CREATEs of this process that may be replayed (MS-SMB2 3.3.5.9.10, Open.IsReplayEligible): those under way, and opens that their
 * client has not used yet. Who uses a FileId has seen the answer that it came in, and has nothing to replay.
 */
export class Creations {
  readonly #pending = new Set<string>();
  readonly #opens = new Map<string, OpenFile>();

  /** A CREATE begins; needs one `end`. */
  begin(key: string): void {
    this.#pending.add(key);
  }

  end(key: string): void {
    this.#pending.delete(key);
  }

  isPending(key: string): boolean {
    return this.#pending.has(key);
  }

  find(key: string): OpenFile | undefined {
    return this.#opens.get(key);
  }

  add(open: OpenFile): void {
    if (open.replayKey !== undefined) this.#opens.set(open.replayKey, open);
  }

  /** The open cannot be asked for by a replay any more. */
  remove(open: OpenFile): void {
    const { replayKey } = open;
    if (replayKey === undefined) return;
    open.replayKey = undefined;
    if (this.#opens.get(replayKey) === open) this.#opens.delete(replayKey);
  }
}
