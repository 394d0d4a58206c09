import { describe, expect, test } from '@jest/globals';
import type { File } from '../../client/index.ts';
import { eventually } from '../cluster/shell.ts';
import { History } from '../history/history.ts';
import type { LogLine } from '../serving.ts';
import type { RawClient, RawOpen } from './raw-client.ts';
import { BLOCK_BYTES, block, expectSound, RecordedFile, recordVolume, volumeValues } from './recorded.ts';
import { onStage, SOON_MS, type Stage, within } from './stage.ts';

const PATH = 'contested';
/** Slots that both write: more than a server carries out at once, so that many wait inside it when it is stopped. */
const SLOTS = 256;
/** Answers that have come when it is stopped: it is in the middle of the rest. */
const ANSWERS_BEFORE_STOP = 5;
/** Writes that go into the socket of the server while it stands still. */
const WRITES_AFTER_STOP = 100;
/** Threads of a file server that may stand between their last check and the system call (UV_THREADPOOL_SIZE, by default 4). */
const POOL_THREADS = 4;
/** Writes in flight at a server that runs towards its deadline. */
const PUMPED = 64;

/** Writes of a client whose server is being stopped: what became of each. */
class Flood {
  readonly #raw: RawClient;
  readonly #open: RawOpen;
  readonly answers: { value: string; status: string; atMs: number }[] = [];
  sent = 0;
  failed = 0;

  constructor(raw: RawClient, open: RawOpen) {
    this.#raw = raw;
    this.#open = open;
  }

  send(count: number): void {
    for (let i = 0; i < count; i++) {
      const slot = this.sent % SLOTS;
      const sequence = ++this.sent;
      this.#raw.write(this.#open, slot * BLOCK_BYTES, block('stale', sequence, slot)).then(
        (status) => this.answers.push({ value: `stale/${sequence}`, status, atMs: performance.now() }),
        () => this.failed++,
      );
    }
  }

  /** Keeps writes in flight until `over` says that it is enough. */
  async pump(over: () => boolean): Promise<void> {
    const inFlight = () => this.sent - this.answers.length - this.failed;
    const step = () => {
      if (inFlight() < PUMPED) this.send(PUMPED - inFlight());
      return over() || undefined;
    };
    await eventually('the server stands still', SOON_MS, step, 0);
  }

  get settled(): boolean {
    return this.answers.length + this.failed === this.sent;
  }
}

/** Credits for a flood: the server grants them bit by bit. */
async function earnCredits(raw: RawClient, open: RawOpen): Promise<void> {
  for (let i = 0; i < 8; i++) await Promise.all(Array.from({ length: 32 }, () => raw.read(open, 0, 16)));
}

const CASES = [
  { title: 'file server and sidecar', parts: ['fileserver-0', 'sidecar-0'] },
  { title: 'the file server alone', parts: ['fileserver-0'] },
  // The file server runs on and has nobody to renew it: its own deadline alone stops it.
  { title: 'the sidecar alone', parts: ['sidecar-0'] },
];

describe('a server that stood still for longer than its lease', () => {
  test.each(CASES)(
    'writes nothing after its handles went elsewhere: $title',
    async ({ parts }) => {
      await onStage(2, async (stage) => {
        // Given a client whose handle is at server 0, and one there that floods the same slots
        const history = new History();
        const client = await stage.client(0, { history });
        const file = await client.open(PATH, { access: 'readwrite', disposition: 'openIf' });
        const mine = new RecordedFile(file, 'owner', history);
        const raw = await stage.raw(0);
        const open = await raw.open(PATH);
        await earnCredits(raw, open);
        const flood = new Flood(raw, open);

        // When the server is stopped in the middle, and more writes wait in its socket
        flood.send(SLOTS);
        await eventually('the flood began', SOON_MS, () => flood.answers.length >= ANSWERS_BEFORE_STOP || undefined, 0);
        const logged = stage.serving.log.length;
        const oldServer = stage.serving.pid('fileserver-0');
        await stage.freeze(...parts);
        if (!parts.includes('fileserver-0')) {
          const holds = (line: LogLine) => line.pid === oldServer && line.msg?.startsWith('past the deadline') === true;
          await flood.pump(() => stage.serving.log.slice(logged).some(holds));
        }
        const doneBefore = new Set(volumeValues(stage.serving.directory, PATH, SLOTS));
        flood.send(WRITES_AFTER_STOP);

        // Then its client goes on at the other one, and writes every slot
        await within(SOON_MS, writeAll(mine), 'the client writes at the other server');
        expect(await stage.serverOf(client)).toBe(1);
        const takenOverMs = performance.now();
        expect(staleSlots(stage)).toEqual([]);

        // And when it wakes up, what waited in it gets no success, and the slots stay the new owner's
        stage.resume(...parts);
        await eventually('all writes of the old server have ended', SOON_MS, () => flood.settled || undefined, 10);
        await stage.ready(0);
        const late = flood.answers.filter(({ status, atMs }) => atMs > takenOverMs && status === 'STATUS_SUCCESS');
        // An answer that was on its way into the socket may still leave: what it says was done before the stop.
        expect(late.filter(({ value }) => !doneBefore.has(value))).toEqual([]);
        expect(flood.failed).toBeGreaterThanOrEqual(WRITES_AFTER_STOP);
        expect(staleSlots(stage).length).toBeLessThanOrEqual(POOL_THREADS);

        await writeAll(mine);
        expect(staleSlots(stage)).toEqual([]);
        recordVolume(history, stage.serving.directory, PATH, SLOTS);
        expectSound(history);
        await expectUsable(file);
      });
    },
    120_000,
  );
});

describe('a sidecar that stood still for longer than the lease of its file server', () => {
  test('decides nothing of what waited for it: the handle and its lock are still there for their owner', async () => {
    await onStage(2, async (stage) => {
      // Given a handle with a lock at server 0
      const raw = await stage.raw(0);
      const open = await raw.open(PATH);
      expect(await raw.lock(open, 0, 10)).toBe('STATUS_SUCCESS');

      // When its sidecar is stopped with a LOCK and a CLOSE on their way to it, and server 0 is fenced
      const logged = stage.serving.log.length;
      await stage.freeze('sidecar-0');
      const answers: string[] = [];
      for (const sent of [raw.lock(open, 100, 10), raw.closeFile(open)]) {
        sent.then(
          (status) => answers.push(status),
          () => answers.push('nothing'),
        );
      }
      await stage.logged('server 0 is fenced', logged, ({ msg }) => msg?.startsWith('fenced a server') === true);
      stage.resume('sidecar-0');
      await eventually('its client knows', SOON_MS, () => answers.length === 2 || undefined, 10);
      await stage.ready(0);

      // Then neither was answered with success, and neither was done
      expect(answers).not.toContain('STATUS_SUCCESS');
      const back = await stage.raw(1, { clientGuid: raw.clientGuid });
      const reclaimed = await eventually('the handle is reclaimed', SOON_MS, async () => {
        const reclaim = { fileId: open.fileId, createGuid: open.createGuid ?? Buffer.alloc(16) };
        const answer = await back.tryOpen(PATH, { reclaim });
        if (answer !== 'STATUS_FILE_NOT_AVAILABLE') return answer;
      });
      expect(reclaimed).toMatchObject({ fileId: { persistent: open.fileId.persistent } });
      const other = await stage.raw(1);
      const theirs = await other.open(PATH);
      expect(await other.lock(theirs, 0, 10)).toBe('STATUS_LOCK_NOT_GRANTED');
      expect(await other.lock(theirs, 100, 10)).toBe('STATUS_SUCCESS');
    });
  }, 120_000);
});

async function writeAll(file: RecordedFile): Promise<void> {
  // Sixteen at once: as many as the server takes without the test taking long.
  for (let slot = 0; slot < SLOTS; slot += 16) {
    await Promise.all(Array.from({ length: Math.min(16, SLOTS - slot) }, (_, i) => file.write(slot + i)));
  }
}

/** Slots of the volume that hold what the stopped server wrote. */
function staleSlots(stage: Stage): string[] {
  return volumeValues(stage.serving.directory, PATH, SLOTS).filter((value) => !value.startsWith('owner/'));
}

async function expectUsable(file: File): Promise<void> {
  await file.flush();
  expect((await file.stat()).size).toBe(SLOTS * BLOCK_BYTES);
}
