import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { delay } from '../../common/time.ts';
import type { MigrationProgress } from '../../proto/generated/control.ts';
import { eventually, run } from '../cluster/shell.ts';
import { History } from '../history/history.ts';
import { expectSound, RecordedFile, recordVolume } from './recorded.ts';
import { onStage, SOON_MS, Stage } from './stage.ts';

const FILE_SERVER = join(import.meta.dirname, '../../fileserver/main.ts');
const CLIENTS = 3;
const HANDLES_A_CLIENT = 6;
const HANDLES = CLIENTS * HANDLES_A_CLIENT;
const SLOTS = 4;
const WRITES = 3;
const CALM_LEASE = ['--lease-duration', '5s'];

/** Clients that begin at one server and write through all their handles until the end. */
class Riders {
  readonly history = new History();
  readonly files: RecordedFile[] = [];
  readonly #loops: Promise<void>[] = [];
  #running = true;
  failovers = 0;
  reclaimed = 0;

  static async start(stage: Stage, server: number, name: string): Promise<Riders> {
    const riders = new Riders();
    for (let i = 0; i < CLIENTS; i++) {
      const client = await stage.client(server, { history: riders.history, name: `${name} ${i}` });
      client.on('failoverEnded', ({ reclaimed }) => {
        riders.failovers++;
        riders.reclaimed += reclaimed;
      });
      for (let k = 0; k < HANDLES_A_CLIENT; k++) {
        const file = await client.open(`${name}-${i}-${k}`, { access: 'readwrite', disposition: 'openIf' });
        await file.lock(1 << 20, 1);
        riders.files.push(new RecordedFile(file, `${name}-${i}-${k}`, riders.history));
      }
    }
    for (const file of riders.files) riders.#loops.push(riders.#write(file));
    await riders.goOn();
    return riders;
  }

  /** Waits until every handle has had some more writes acknowledged. */
  async goOn(): Promise<void> {
    const before = this.files.map((file) => file.acknowledged);
    const all = () => this.files.every((file, i) => file.acknowledged >= (before[i] ?? 0) + WRITES);
    const failed = () => this.history.of('error').length > 0;
    await eventually('all handles are written on', SOON_MS * 2, () => all() || failed() || undefined, 20);
  }

  /** Ends, and shows that nothing was lost: no block, no handle, no lock. */
  async end(stage: Stage): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
    for (const { path } of this.files) recordVolume(this.history, stage.serving.directory, path, SLOTS);
    expectSound(this.history);
    for (const { file } of this.files) {
      await file.unlock(1 << 20, 1); // throws STATUS_RANGE_NOT_LOCKED if it was lost
      await file.close();
    }
  }

  async #write(file: RecordedFile): Promise<void> {
    for (let i = 0; this.#running; i++) {
      if (!(await file.write(i % SLOTS)) || !(await file.read(i % SLOTS))) return;
      await delay(5);
    }
  }
}

describe('a planned migration', () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await Stage.start(3, CALM_LEASE);
  }, 60_000);
  afterAll(async () => {
    await stage?.stop();
  }, 60_000);

  test('moves handles while their clients write; repeated, it says the same and moves nothing', async () => {
    const riders = await Riders.start(stage, 0, 'planned');
    const control = await stage.control(0);
    const request = { migrationId: 'planned', targetPods: ['local-1', 'local-2'] };
    const outcomes = await Promise.all([control.migrate(request), control.migrate(request)]);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ phase: 'Done', done: true, total: BigInt(HANDLES), moved: BigInt(HANDLES) });
      expect(outcome).toMatchObject({ released: 0n, expired: 0n, left: 0n, sessions: BigInt(CLIENTS) });
    }
    await riders.goOn();
    expect(riders.failovers).toBe(CLIENTS);
    expect(riders.reclaimed).toBe(HANDLES);

    expect(await control.migrate(request)).toEqual(outcomes[0]);
    await riders.goOn();
    expect(riders.failovers).toBe(CLIENTS);
    await riders.end(stage);
  }, 90_000);

  test('puts the handles at the server that was named', async () => {
    await stage.ready();
    const riders = await Riders.start(stage, 0, 'named');
    const [from, to] = [await stage.control(0), await stage.control(2)];
    const outcome = await from.migrate({ migrationId: 'named', targetPods: ['local-2'] });
    expect(outcome).toMatchObject({ phase: 'Done', moved: BigInt(HANDLES) });
    await riders.goOn();
    // Where a client lands is its own choice: all that counts is that every handle has one owner, and that it is not the old one.
    const status = await from.status();
    expect(status.servers.map(({ opensPersistent }) => opensPersistent)).toEqual([0n]);
    expect((await to.status()).storeReachable).toBe(true);
    await riders.end(stage);
  }, 90_000);

  const cases = ['source', 'target'].flatMap((who) =>
    [['fileserver'], ['sidecar'], ['fileserver', 'sidecar']].flatMap((parts) =>
      ['Preparing', 'Transferring'].map((phase) => ({ who, parts, phase })),
    ),
  );
  // After the transfer, and while its clients get their handles back there.
  cases.push({ who: 'target', parts: ['fileserver', 'sidecar'], phase: 'Releasing' });
  test.each(cases)(
    'survives kill -9 of the $who ($parts) while $phase',
    async ({ who, parts, phase }) => {
      await stage.ready();
      const name = `${who}-${parts.join('').length}-${phase}`;
      const riders = await Riders.start(stage, 0, name);
      const control = await stage.control(0);
      let struck = false;
      const strike = (progress: MigrationProgress) => {
        if (struck || progress.phase !== phase) return;
        struck = true;
        for (const part of parts) stage.kill(`${part}-${who === 'source' ? 0 : 1}`);
      };
      const migrated = control.migrate({ migrationId: name, targetPods: ['local-1'] }, strike).then(
        ({ phase: last }) => last,
        () => 'the sidecar is gone',
      );
      await eventually(`it is ${phase}`, SOON_MS, () => struck || undefined, 5);
      await riders.goOn();
      // A sidecar that lives brings it to an end, one way or the other.
      const outcome = await migrated;
      expect(['Done', 'Failed', 'the sidecar is gone']).toContain(outcome);
      await riders.end(stage);
    },
    120_000,
  );
});

test('a migration that finds no target releases the handles, and their clients reclaim them', async () => {
  await onStage(
    1,
    async (stage) => {
      const riders = await Riders.start(stage, 0, 'alone');
      const control = await stage.control(0);
      const outcome = await control.migrate({ migrationId: 'alone' });
      expect(outcome).toMatchObject({ phase: 'Done', moved: 0n, released: BigInt(HANDLES), left: 0n });
      await riders.goOn();
      expect(riders.reclaimed).toBe(HANDLES);
      await riders.end(stage);
    },
    CALM_LEASE,
  );
}, 90_000);

test('without an operator, the preStop hook of a pod moves its handles', async () => {
  await onStage(
    2,
    async (stage) => {
      const riders = await Riders.start(stage, 0, 'hook');
      const runFolder = stage.serving.detail('sidecar-0', 'runDirectory');
      const hook = [FILE_SERVER, 'drain', '--run-dir', runFolder, '--timeout', '20s'];
      // Throws unless it ends with status 0: nothing is left.
      await run(process.execPath, hook);
      await riders.goOn();
      expect(riders.reclaimed).toBe(HANDLES);
      const [from, to] = [await stage.control(0), await stage.control(1)];
      const persistentOf = async (control: typeof from) =>
        (await control.status()).servers.map(({ opensPersistent }) => opensPersistent);
      expect(await persistentOf(from)).toEqual([0n]);
      expect(await persistentOf(to)).toEqual([BigInt(HANDLES)]);
      await riders.end(stage);
    },
    CALM_LEASE,
  );
}, 90_000);
