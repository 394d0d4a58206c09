import type { Member } from '../services/member.ts';
import type { Pending } from '../services/pending.ts';
import { hex } from '../table/keys.ts';

/** Requests of this pod's file servers that wait for something about a file: a lock, an acknowledgement. */
export class WaitingRoom {
  readonly #waiting = new Map<string, Set<() => void>>();

  /** Resolves when something has changed about the file, after `atMostMs`, or when the request is given up. */
  wait(member: Member, fileHex: string, pending: Pending, atMostMs: number): Promise<void> {
    const key = `${member.owner} ${fileHex}`;
    return new Promise((resolve) => {
      const set = this.#waiting.get(key) ?? new Set();
      this.#waiting.set(key, set);
      const done = () => {
        clearTimeout(timer);
        set.delete(done);
        if (set.size === 0 && this.#waiting.get(key) === set) this.#waiting.delete(key);
        pending.onCancel = undefined;
        resolve();
      };
      const timer = setTimeout(done, atMostMs);
      set.add(done);
      pending.onCancel = done;
    });
  }

  /** Lost wake-ups are made up for by trying at intervals. */
  wake(member: Member, fileId: Uint8Array): void {
    const set = this.#waiting.get(`${member.owner} ${hex(fileId)}`);
    if (set) for (const done of [...set]) done();
  }
}
