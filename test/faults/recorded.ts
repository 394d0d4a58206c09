import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { readBlock, writeBlock } from '../../client/cli/block.ts';
import type { File } from '../../client/index.ts';
import { check } from '../history/check.ts';
import { EMPTY, type History, TORN } from '../history/history.ts';

export const BLOCK_BYTES = 4096;

/** A tagged block: whose write it was shows whatever becomes of it. */
export function block(writer: string, sequence: number, slot: number): Buffer {
  const bytes = Buffer.alloc(BLOCK_BYTES);
  writeBlock(bytes, { writer, handle: 0, sequence, slot });
  return bytes;
}

/** What a slot's bytes say, as a history's value. */
export function blockValue(bytes: Buffer, slot: number): string {
  if (bytes.length === 0) return EMPTY;
  const found = readBlock(bytes);
  if (typeof found === 'string') return found === 'empty' ? EMPTY : TORN;
  return found.slot === slot
    ? `${found.writer}/${found.sequence}`
    : `${found.writer}/${found.sequence} of slot ${found.slot}`;
}

/** A file whose slots are written and read with everything recorded. `writer` is unique among the writers of the history. */
export class RecordedFile {
  readonly file: File;
  readonly writer: string;
  readonly #history: History;
  #sequence = 0;
  acknowledged = 0;

  constructor(file: File, writer: string, history: History) {
    this.file = file;
    this.writer = writer;
    this.#history = history;
  }

  get path(): string {
    return this.file.path;
  }

  /** Writes the next block into a slot. Errors are recorded, not thrown. */
  async write(slot: number): Promise<boolean> {
    const sequence = ++this.#sequence;
    const event = {
      kind: 'write' as const,
      client: this.writer,
      place: `${this.path}#${slot}`,
      value: `${this.writer}/${sequence}`,
      calledMs: performance.now(),
      returnedMs: undefined as number | undefined,
    };
    this.#history.add(event);
    return this.#recorded('writing', async () => {
      await this.file.write(slot * BLOCK_BYTES, block(this.writer, sequence, slot));
      event.returnedMs = performance.now();
      this.acknowledged++;
    });
  }

  async read(slot: number): Promise<boolean> {
    const calledMs = performance.now();
    return this.#recorded('reading', async () => {
      const bytes = await this.file.read(slot * BLOCK_BYTES, BLOCK_BYTES);
      const returnedMs = performance.now();
      const value = blockValue(bytes, slot);
      this.#history.add({
        kind: 'read',
        client: this.writer,
        place: `${this.path}#${slot}`,
        value,
        calledMs,
        returnedMs,
      });
    });
  }

  /** Holds a range of the file for itself while `work` runs. */
  async locked(offset: number, length: number, work: () => Promise<void>): Promise<boolean> {
    return this.#recorded('locking', async () => {
      await this.file.lock(offset, length, { wait: true });
      const hold = {
        kind: 'hold' as const,
        client: this.writer,
        resource: `${this.path} ${offset}+${length}`,
        exclusive: true,
        fromMs: performance.now(),
        untilMs: undefined as number | undefined,
      };
      this.#history.add(hold);
      await work();
      hold.untilMs = performance.now();
      await this.file.unlock(offset, length);
    });
  }

  async #recorded(doing: string, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#history.add({ kind: 'error', client: this.writer, doing, reason, atMs: performance.now() });
      return false;
    }
  }
}

/** What the volume itself holds, read past all servers. */
export function volumeValues(directory: string, path: string, slots: number): string[] {
  const fd = openSync(join(directory, path.replaceAll('\\', '/')), 'r');
  try {
    return Array.from({ length: slots }, (_, slot) => {
      const bytes = Buffer.alloc(BLOCK_BYTES);
      const length = readSync(fd, bytes, 0, BLOCK_BYTES, slot * BLOCK_BYTES);
      return blockValue(bytes.subarray(0, length), slot);
    });
  } finally {
    closeSync(fd);
  }
}

/** Adds what is on the volume now to a history, as the last reads. */
export function recordVolume(history: History, directory: string, path: string, slots: number): void {
  const calledMs = performance.now();
  volumeValues(directory, path, slots).forEach((value, slot) => {
    const returnedMs = performance.now();
    history.add({ kind: 'read', client: 'the volume', place: `${path}#${slot}`, value, calledMs, returnedMs });
  });
}

/** Throws when the history shows what must not be. */
export function expectSound(history: History): void {
  const violations = check(history.events);
  if (violations.length === 0) return;
  const list = violations.slice(0, 20).map(({ what, text }) => `  ${what}: ${text}`);
  throw new Error(
    `${violations.length} violations in a history of ${history.events.length} events:\n${list.join('\n')}`,
  );
}
