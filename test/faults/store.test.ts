import { cpSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import type { StoreConfig } from '../../common/config.ts';
import { delay } from '../../common/time.ts';
import type { TestRedis } from '../../sidecar/testing/redis.ts';
import { SentinelSet } from '../../sidecar/testing/redis-sets.ts';
import { eventually } from '../cluster/shell.ts';
import { History } from '../history/history.ts';
import { expectSound, RecordedFile, recordVolume } from './recorded.ts';
import { onStage, SOON_MS, type Stage } from './stage.ts';

const FILES = 6;
const SLOTS = 4;
/** With HOLDFAST_LONG_FAULTS as long as peers ever promise one another not to fence. */
const PAUSE_MS = process.env.HOLDFAST_LONG_FAULTS ? 30_000 : 10_000;
const WRITES = 5;
/** What the private Redis has on its disk. It is read once, when Redis starts. */
const appendOnly = (stage: Stage) => join(stage.stateDirectory, 'redis', 'appendonlydir');

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
  test('stands still while clients write: they wait, nothing fails, no handle is lost', async () => {
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

  test('is killed together with the sidecars: handles and locks are still there', async () => {
    await onStage(2, async (stage) => {
      const writers = new Writers();
      await writers.start(stage);
      await writers.goOn();

      stage.kill('sidecar-0');
      stage.kill('sidecar-1');
      await stage.serving.kill('redis');
      await writers.goOn(SOON_MS * 2);
      await writers.end();
      await expectAllHeld(stage, writers);
    });
  }, 150_000);

  test('is killed and comes back empty: nothing is lost', async () => {
    await onStage(2, async (stage) => {
      const writers = new Writers();
      await writers.start(stage);
      await writers.goOn();

      rmSync(appendOnly(stage), { recursive: true });
      await stage.serving.kill('redis');
      await writers.goOn(SOON_MS * 2);
      await writers.end();
      await expectAllHeld(stage, writers);
    });
  }, 150_000);

  test('comes back with an old copy of its data: opens and locks that are newer are kept, what was closed since is not back', async () => {
    await onStage(2, async (stage) => {
      const closing = await stage.raw(0);
      const closed = await closing.open('closed-since', { shareAccess: 0 });
      const copy = `${appendOnly(stage)}-copy`;
      cpSync(appendOnly(stage), copy, { recursive: true });
      await closing.closeFile(closed);
      const writers = new Writers();
      await writers.start(stage);
      await writers.goOn();

      rmSync(appendOnly(stage), { recursive: true });
      renameSync(copy, appendOnly(stage));
      await stage.serving.kill('redis');
      await writers.goOn(SOON_MS * 2);
      await writers.end();
      await expectAllHeld(stage, writers);
      await (await stage.raw(1)).open('closed-since', { shareAccess: 0 });
    });
  }, 150_000);
});

describe('a Redis that somebody else runs', () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-store-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** Flags that name it. */
  function at(config: StoreConfig, password?: string): string[] {
    writeFileSync(join(folder, 'store.json'), JSON.stringify(config));
    const flags = ['--store', join(folder, 'store.json')];
    if (password === undefined) return flags;
    writeFileSync(join(folder, 'password'), password);
    return [...flags, '--store-password-file', join(folder, 'password')];
  }

  test('fails over to a replica without the last writes: nothing is lost', async () => {
    const set = await SentinelSet.start(1);
    try {
      const { sentinels, masterName, password } = set;
      const durability = { mode: 'Always' } as const;
      const flags = at({ mode: 'Sentinel', addresses: sentinels, masterName, durability }, password);
      await onStage(
        2,
        async (stage) => {
          const [replica] = await set.replicas();
          await set.cutReplication(replica as TestRedis);
          const writers = new Writers();
          await writers.start(stage); // opens and locks that the replica never hears of
          await writers.goOn();
          await set.failOver();
          await writers.goOn(SOON_MS * 2);
          await writers.end();
          await expectAllHeld(stage, writers);
        },
        flags,
      );
    } finally {
      await set.stop();
    }
  }, 150_000);
});
