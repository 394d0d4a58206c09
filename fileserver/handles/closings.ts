import { ChurningMap } from '../../common/churning-map.ts';
import { chunks } from '../../common/slices.ts';
import { type CloseReply, Outcome } from '../../proto/generated/handles.ts';
import type { Decision, Handles } from '../handles.ts';

/** Opens that are closed with one request: enough to share its cost, few enough that others' requests do not wait for it. */
const MOST_TOGETHER = 64;
/** Between two tries to close what could not be closed, ms. */
const AGAIN_MS = 1000;

/** What is to be closed. */
interface Ending {
  readonly fileId: Buffer;
  readonly openId: bigint;
  readonly share: string;
  readonly path: string;
}

/** Unlinks a file whose last open ended here without a client's CLOSE. Never rejects. */
export type RemoveFile = (file: { fileId: Buffer; share: string; path: string }) => Promise<void>;

/**
 * Ends opens in the table that the file server kept for itself, and goes on until they have ended: others would wait for them as long as
 * this server lives.
 */
export class Closings {
  readonly #handles: Handles;
  readonly #removeFile: RemoveFile;
  /** Their CLOSE is on the way; or it failed, and is tried again. */
  readonly #ending = new ChurningMap<bigint, Ending>();
  readonly #failed = new Set<Ending>();
  readonly #hurried = new Map<bigint, ((isDone: boolean) => void)[]>();
  /** Counts the identities of this server: what was closed under one before is none of this one's. */
  #life = 0;
  #again: NodeJS.Timeout | undefined;

  constructor(handles: Handles, removeFile: RemoveFile) {
    this.#handles = handles;
    this.#removeFile = removeFile;
  }

  /** For a client, that hears what becomes of it. */
  close(ending: Ending): Promise<Decision<CloseReply>> {
    this.#ending.set(ending.openId, ending);
    return this.#closeInTable(ending);
  }

  /** For nobody: a file that was to be deleted with its last open is removed here. Resolves when the table was told. */
  async end(endings: readonly Ending[]): Promise<void> {
    for (const ending of endings) this.#ending.set(ending.openId, ending);
    if (endings.length === 1) await Promise.all(endings.map((ending) => this.#closeAlone(ending)));
    else await Promise.all(chunks(endings, MOST_TOGETHER).map((together) => this.#closeTogether(together)));
  }

  /**
   * Somebody else wants the file of this open.
   * @returns undefined: it is none that ends here; else resolves when the table was told
   */
  hurry(openId: bigint): Promise<boolean> | undefined {
    const ending = this.#ending.get(openId);
    if (!ending) return undefined;
    if (this.#failed.has(ending)) return this.#closeAlone(ending).then(() => true);
    return new Promise((resolve) => {
      const waiting = this.#hurried.get(openId);
      if (waiting) waiting.push(resolve);
      else this.#hurried.set(openId, [resolve]);
    });
  }

  /** This server was fenced: nothing is open under its identity any more. */
  forget(): void {
    this.#life++;
    clearInterval(this.#again);
    this.#again = undefined;
    this.#ending.clear();
    this.#failed.clear();
    for (const waiting of this.#hurried.values()) for (const resolve of waiting) resolve(true);
    this.#hurried.clear();
  }

  /** Whoever asked for it first was answered, and does not hear that the file is to be removed. */
  async #closeAlone(ending: Ending): Promise<void> {
    const { value } = await this.#closeInTable(ending);
    if (value?.remove) await this.#remove(ending, value);
  }

  async #closeInTable(ending: Ending): Promise<Decision<CloseReply>> {
    const { fileId, openId } = ending;
    const life = this.#life;
    this.#failed.delete(ending);
    const decision = await this.#handles.close({ fileId, openId });
    if (life === this.#life) this.#told(ending, decision.outcome);
    return decision;
  }

  async #closeTogether(endings: readonly Ending[]): Promise<void> {
    const life = this.#life;
    const closes = endings.map(({ fileId, openId }) => ({ fileId, openId }));
    const { outcome, value } = await this.#handles.closeAll({ closes });
    if (life !== this.#life) return;
    if (outcome === Outcome.INVALID) {
      await Promise.all(endings.map((ending) => this.#closeAlone(ending)));
      return;
    }
    const said = new Map(value?.closed.map((closed) => [closed.openId, closed]));
    const removals: Promise<void>[] = [];
    for (const ending of endings) {
      const closed = said.get(ending.openId);
      this.#told(ending, closed?.outcome ?? outcome);
      if (closed?.close?.remove) removals.push(this.#remove(ending, closed.close));
    }
    await Promise.all(removals);
  }

  #told(ending: Ending, outcome: Outcome): void {
    for (const resolve of this.#hurried.get(ending.openId) ?? []) resolve(true);
    this.#hurried.delete(ending.openId);
    if (outcome !== Outcome.STORE_UNAVAILABLE) {
      this.#ending.delete(ending.openId);
      return;
    }
    this.#failed.add(ending);
    this.#again ??= setInterval(() => this.#endFailed(), AGAIN_MS).unref();
  }

  #endFailed(): void {
    for (const ending of this.#failed) void this.#closeAlone(ending);
    if (this.#ending.size > 0) return;
    clearInterval(this.#again);
    this.#again = undefined;
  }

  async #remove({ fileId, share, path }: Ending, reply: CloseReply): Promise<void> {
    await this.#removeFile({ fileId, share: reply.share || share, path: reply.path || path });
  }
}
