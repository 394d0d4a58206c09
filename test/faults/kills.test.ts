import { describe, expect, test } from '@jest/globals';
import { delay } from '../../common/time.ts';
import { eventually } from '../cluster/shell.ts';
import { History } from '../history/history.ts';
import { Random, seeds } from './random.ts';
import { expectSound, RecordedFile, recordVolume } from './recorded.ts';
import { onStage, SOON_MS, type Stage } from './stage.ts';

const SERVERS = 3;
const CLIENTS = 3;
const FILES_A_CLIENT = 3;
const SLOTS = 8;
const KILLS = 8;
/** Between two kills: some come while the one before is still being dealt with, some in peace. */
const GAP_MS = { least: 200, most: 2500 };
/** Acknowledged writes of every handle that show that all goes on after the last kill. */
const WRITES_AFTER = 5;
const COUNTER = 'counter';

/** Clients whose handles lie on all servers; each reads what the others write, and all count up one number under a lock. */
class Crowd {
  readonly history = new History();
  readonly #stage: Stage;
  readonly #random: Random;
  readonly #written: RecordedFile[] = [];
  readonly #loops: Promise<void>[] = [];
  readonly #failovers = { reclaimed: 0, lost: 0 };
  #running = true;
  counted = 0;

  constructor(stage: Stage, random: Random) {
    this.#stage = stage;
    this.#random = random;
  }

  get reclaimed(): number {
    return this.#failovers.reclaimed;
  }

  get lost(): number {
    return this.#failovers.lost;
  }

  get files(): readonly RecordedFile[] {
    return this.#written;
  }

  async start(): Promise<void> {
    const clients = await Promise.all(
      Array.from({ length: CLIENTS }, (_, i) =>
        this.#stage.client(i % SERVERS, { history: this.history, name: `client ${i}` }),
      ),
    );
    for (const [i, client] of clients.entries()) {
      client.on('failoverEnded', ({ reclaimed, lost }) => {
        this.#failovers.reclaimed += reclaimed;
        this.#failovers.lost += lost;
      });
      for (let k = 0; k < FILES_A_CLIENT; k++) {
        const path = `blocks-${i}-${k}`;
        const own = await client.open(path, { access: 'readwrite', disposition: 'openIf' });
        expect(own.durability).toBe('persistent');
        this.#written.push(new RecordedFile(own, `writer-${i}-${k}`, this.history));
        const reader = clients[(i + 1) % CLIENTS];
        const other = await reader?.open(path, { access: 'read' });
        if (other) this.#loop(new RecordedFile(other, `reader-${i}-${k}`, this.history), 'read');
      }
      const counter = await client.open(COUNTER, { access: 'readwrite', disposition: 'openIf' });
      this.#count(new RecordedFile(counter, `counter-${i}`, this.history));
    }
    for (const file of this.#written) this.#loop(file, 'write');
  }

  /** Waits until every handle has had so many more writes acknowledged, and the number was counted up. */
  async goesOn(writes: number): Promise<void> {
    const before = this.#written.map((file) => file.acknowledged);
    const counted = this.counted;
    const all = () =>
      this.#written.every((file, i) => file.acknowledged >= (before[i] ?? 0) + writes) && this.counted > counted;
    await eventually(
      'every client writes on',
      SOON_MS * 2,
      () => all() || this.history.of('error').length > 0 || undefined,
    );
  }

  async end(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
  }

  #loop(file: RecordedFile, what: 'read' | 'write'): void {
    const random = new Random(this.#random.between(0, 0x7fff_ffff));
    const run = async () => {
      while (this.#running) {
        const slot = random.between(0, SLOTS - 1);
        if (!(await (what === 'read' ? file.read(slot) : file.write(slot)))) return;
        await delay(random.between(0, 10));
      }
    };
    this.#loops.push(run());
  }

  /** Read, add one, write: lost if two ever hold the lock at once, or if a write of before the lock comes after it. */
  #count(file: RecordedFile): void {
    const run = async () => {
      while (this.#running) {
        const fine = await file.locked(1 << 20, 1, async () => {
          const bytes = await file.file.read(0, 8);
          const next = Buffer.alloc(8);
          next.writeDoubleLE((bytes.length === 8 ? bytes.readDoubleLE() : 0) + 1);
          await file.file.write(0, next);
          this.counted++;
        });
        if (!fine) return;
        await delay(20);
      }
    };
    this.#loops.push(run());
  }
}

/** kill -9 of a file server, its sidecar or both at once, in an order and at times that the seed gives. */
async function killAtRandom(stage: Stage, random: Random): Promise<string[]> {
  const done: string[] = [];
  for (let i = 0; i < KILLS; i++) {
    const server = random.between(0, SERVERS - 1);
    const parts = random.pick([['fileserver'], ['sidecar'], ['fileserver', 'sidecar'], ['sidecar', 'fileserver']]);
    for (const part of parts) {
      try {
        stage.kill(`${part}-${server}`);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // dead from the last time, not started again yet
      }
    }
    done.push(`${parts.join('+')}-${server}`);
    await delay(random.between(GAP_MS.least, GAP_MS.most));
  }
  return done;
}

describe('processes are killed at random', () => {
  test.each(seeds(1).slice(0, 1))(
    'no error, no lost block, no lost handle, no lock held twice (SEED=%i)',
    async (seed) => {
      await onStage(SERVERS, async (stage) => {
        const random = new Random(seed);
        const crowd = new Crowd(stage, random);
        await crowd.start();
        await crowd.goesOn(WRITES_AFTER);
        const kills = await killAtRandom(stage, random);
        await crowd.goesOn(WRITES_AFTER);
        await crowd.end();
        process.stdout.write(
          `SEED=${seed}: ${kills.join(' ')}; ${crowd.history.events.length} events, ${crowd.counted} counted, ${crowd.reclaimed} reclaimed\n`,
        );

        for (const file of crowd.files) recordVolume(crowd.history, stage.serving.directory, file.path, SLOTS);
        expectSound(crowd.history);
        expect(crowd.lost).toBe(0);
        expect(crowd.reclaimed).toBeGreaterThan(0);
        const reader = await stage.client(0);
        const counter = await reader.open(COUNTER);
        expect((await counter.read(0, 8)).readDoubleLE()).toBe(crowd.counted);
      });
    },
    180_000,
  );
});
