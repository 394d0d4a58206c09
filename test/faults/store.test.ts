import { describe, expect, test } from '@jest/globals';
import { delay } from '../../common/time.ts';
import { eventually } from '../cluster/shell.ts';
import { History } from '../history/history.ts';
import { expectSound, RecordedFile, recordVolume } from './recorded.ts';
import { onStage, SOON_MS, type Stage } from './stage.ts';

const FILES = 6;
const SLOTS = 4;
const PAUSE_MS = 10_000;
const WRITES = 5;

/** Two clients at two servers, each writing through several handles one block after another. */
class Writers {
  readonly history = new History();
  readonly files: RecordedFile[] = [];
  #running = true;
  readonly #loops: Promise<void>[] = [];

  async start(stage: Stage): Promise<void> {
    for (let i = 0; i < FILES; i++) {
      const client = await stage.client(i % 2, { history: this.history, name: `client ${i}` });
      const file = await client.open(`file-${i}`, { access: 'readwrite', disposition: 'openIf' });
      expect(file.durability).toBe('persistent');
      await file.lock(1 << 20, 1);
      this.files.push(new RecordedFile(file, `writer-${i}`, this.history));
    }
    for (const file of this.files) this.#loops.push(this.#write(file));
  }

  /** Waits until every handle has had some more writes acknowledged. */
  async goOn(withinMs = SOON_MS): Promise<void> {
    const before = this.files.map((file) => file.acknowledged);
    const all = () => this.files.every((file, i) => file.acknowledged >= (before[i] ?? 0) + WRITES);
    await eventually('all handles are written on', withinMs, () => all() || this.#failed() || undefined, 20);
  }

  async end(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
  }

  #failed(): boolean {
    return this.history.of('error').length > 0;
  }

  async #write(file: RecordedFile): Promise<void> {
    for (let i = 0; this.#running; i++) {
      if (!(await file.write(i % SLOTS)) || !(await file.read(i % SLOTS))) return;
      await delay(5);
    }
  }
}

/** All is still there: what was acknowledged, and every handle with its lock. */
async function expectAllHeld(stage: Stage, writers: Writers): Promise<void> {
  for (const { path } of writers.files) recordVolume(writers.history, stage.serving.directory, path, SLOTS);
  expectSound(writers.history);
  const other = await stage.raw(1);
  for (const { path, file } of writers.files) {
    const open = await other.open(path);
    expect(await other.lock(open, 1 << 20, 1)).toBe('STATUS_LOCK_NOT_GRANTED');
    await file.unlock(1 << 20, 1);
    expect(await other.lock(open, 1 << 20, 1)).toBe('STATUS_SUCCESS');
  }
}

describe('Redis', () => {
  test('stands still for 10 s while clients write: they wait, nothing fails, no handle is lost', async () => {
    await onStage(2, async (stage) => {
      const writers = new Writers();
      await writers.start(stage);
      await writers.goOn();

      await stage.freeze('redis');
      await delay(PAUSE_MS); // the length of the fault, not a wait for something
      stage.resume('redis');

      await writers.goOn(SOON_MS * 2);
      await writers.end();
      await expectAllHeld(stage, writers);
    });
  }, 150_000);

  test('is killed and comes back with its data: handles and locks are still there', async () => {
    await onStage(2, async (stage) => {
      const writers = new Writers();
      await writers.start(stage);
      await writers.goOn();

      for (let i = 0; i < 3; i++) {
        await stage.serving.kill('redis');
        await writers.goOn(SOON_MS * 2);
      }
      await writers.end();
      await expectAllHeld(stage, writers);
    });
  }, 150_000);

  test('is killed together with a file server: its handles are reclaimed all the same', async () => {
    await onStage(2, async (stage) => {
      const writers = new Writers();
      await writers.start(stage);
      await writers.goOn();

      stage.kill('fileserver-0');
      await stage.serving.kill('redis');
      await writers.goOn(SOON_MS * 2);
      await writers.end();
      await expectAllHeld(stage, writers);
    });
  }, 150_000);
});
