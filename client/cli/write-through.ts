import { rename, writeFile } from 'node:fs/promises';
import { monotonicNs } from '../../common/time.ts';
import type { SmbError } from '../errors.ts';
import type { Client } from '../file/client.ts';
import type { File } from '../file/file.ts';
import { writeBlock } from './block.ts';
import { type HandleReport, TimeLine, type WriterProgress, type WriterReport } from './report.ts';

/** Acknowledgements are counted in buckets of this length. */
const BUCKET_MS = 100;
/** Gaps from this length on are pauses. */
const PAUSE_THRESHOLD_MS = 50;
/** How long writes in flight may still be answered after the end. */
const SETTLE_MS = 70_000;
/** Pause after a write that failed. */
const ERROR_PAUSE_MS = 20;

export interface WriterOptions {
  /** Names the writer in its blocks and files. */
  writer: string;
  /** Folder within the share. */
  folder: string;
  share: string;
  handles: number;
  blockBytes: number;
  /** Blocks of each file. */
  slots: number;
}

/** One handle of the writer: one file, one write in flight, and the record of what was acknowledged. */
class HandleWriter {
  readonly #file: File;
  readonly #index: number;
  readonly #options: WriterOptions;
  readonly #startedMs: number;
  readonly #block: Buffer;
  readonly #lastAcked: Float64Array;
  readonly #unsettled = new Map<number, number>();
  readonly #times = new TimeLine();
  readonly #acknowledged: number[] = [];
  readonly #pauses: { atMs: number; ms: number }[] = [];
  readonly errors: { atMs: number; code: string; message: string }[] = [];
  #sequence = 0;
  #filled = 0;
  #lastAckMs: number;
  #maxPauseMs = 0;
  #recentPauseMs = 0;
  ackedBlocks = 0;

  constructor(file: File, index: number, options: WriterOptions, startedMs: number) {
    this.#file = file;
    this.#index = index;
    this.#options = options;
    this.#startedMs = startedMs;
    this.#block = Buffer.alloc(options.blockBytes);
    this.#lastAcked = new Float64Array(options.slots);
    this.#lastAckMs = performance.now() - startedMs;
  }

  /** The longest pause, the one that is going on included. */
  maxPauseMs(writing: boolean): number {
    return writing
      ? Math.max(this.#maxPauseMs, performance.now() - this.#startedMs - this.#lastAckMs)
      : this.#maxPauseMs;
  }

  /** The longest pause of those that ended since this was last asked, and the one that is going on. */
  takePauseMs(writing: boolean): number {
    const recentMs = this.#recentPauseMs;
    this.#recentPauseMs = 0;
    return writing ? Math.max(recentMs, performance.now() - this.#startedMs - this.#lastAckMs) : recentMs;
  }

  /** Writes block after block until it is stopped or the handle is lost. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const slot = this.#nextSlot();
      const sequence = ++this.#sequence;
      writeBlock(this.#block, { writer: this.#options.writer, handle: this.#index, sequence, slot });
      this.#unsettled.set(sequence, slot);
      try {
        await this.#file.write(slot * this.#options.blockBytes, this.#block);
        this.#acked(sequence, slot);
      } catch (error) {
        const { code = 'UNKNOWN', message } = error as Partial<SmbError> & Error;
        this.errors.push({ atMs: performance.now() - this.#startedMs, code, message });
        if (code === 'HANDLE_LOST' || code === 'HANDLE_CLOSED' || code === 'CLIENT_CLOSED') return;
        await new Promise((resolve) => setTimeout(resolve, ERROR_PAUSE_MS));
      }
    }
  }

  /** In turn the next slot that is empty, and one that was written before: a writer that is late would show there. */
  #nextSlot(): number {
    const { slots } = this.#options;
    if (this.#filled < slots && (this.#sequence % 2 === 0 || this.#filled === 0)) return this.#filled++;
    return Math.floor(Math.random() * this.#filled);
  }

  #acked(sequence: number, slot: number): void {
    const nowMs = performance.now() - this.#startedMs;
    this.ackedBlocks++;
    this.#lastAcked[slot] = sequence;
    // What an acknowledged block has overwritten is settled, whatever became of it.
    for (const [earlier, itsSlot] of this.#unsettled)
      if (itsSlot === slot && earlier <= sequence) this.#unsettled.delete(earlier);
    this.#times.add(nowMs);
    const bucket = Math.floor(nowMs / BUCKET_MS);
    while (this.#acknowledged.length <= bucket) this.#acknowledged.push(0);
    this.#acknowledged[bucket] = (this.#acknowledged[bucket] ?? 0) + 1;
    const gapMs = nowMs - this.#lastAckMs;
    if (gapMs > this.#maxPauseMs) this.#maxPauseMs = gapMs;
    if (gapMs > this.#recentPauseMs) this.#recentPauseMs = gapMs;
    if (gapMs >= PAUSE_THRESHOLD_MS) this.#pauses.push({ atMs: this.#lastAckMs, ms: gapMs });
    this.#lastAckMs = nowMs;
  }

  report(): HandleReport {
    return {
      index: this.#index,
      path: this.#file.path.replaceAll('\\', '/'),
      durability: this.#file.durability,
      ackedBlocks: this.ackedBlocks,
      lastAcked: [...this.#lastAcked],
      unsettled: [...this.#unsettled].map(([sequence, slot]) => ({ sequence, slot })),
      ackTimes: this.#times.toString(),
      acknowledged: this.#acknowledged,
      pauses: this.#pauses,
      maxPauseMs: this.#maxPauseMs,
      errors: this.errors,
    };
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** Many handles that write side by side. */
export class Writer {
  readonly #options: WriterOptions;
  readonly #client: Client;
  readonly #handles: HandleWriter[];
  readonly #startedMs: number;
  readonly #startedAt = new Date();
  readonly #startedNs = monotonicNs();
  readonly #failovers: WriterReport['failovers'] = [];
  #writing = false;

  private constructor(client: Client, options: WriterOptions, files: File[]) {
    this.#client = client;
    this.#options = options;
    this.#startedMs = performance.now();
    this.#handles = files.map((file, index) => new HandleWriter(file, index, options, this.#startedMs));
    client.on('failoverEnded', (event) =>
      this.#failovers.push({ atMs: performance.now() - this.#startedMs - event.durationMs, ...event }),
    );
  }

  /** Creates the files, or empties them. */
  static async open(client: Client, options: WriterOptions): Promise<Writer> {
    await makeFolders(client, options.folder);
    const names = Array.from(
      { length: options.handles },
      (_, i) => `${options.writer}-${String(i).padStart(3, '0')}.blocks`,
    );
    const files = await Promise.all(
      names.map((name) =>
        client.open(options.folder === '' ? name : `${options.folder}/${name}`, {
          access: 'readwrite',
          disposition: 'overwriteIf',
          writeThrough: true,
        }),
      ),
    );
    return new Writer(client, options, files);
  }

  /** Writes until the signal; then waits for what is in flight. */
  async run(signal: AbortSignal): Promise<void> {
    this.#writing = true;
    let late: NodeJS.Timeout | undefined;
    const settled = Promise.all(this.#handles.map((handle) => handle.run(signal)));
    const stopped = new Promise<void>((resolve) => {
      const arm = () => {
        late = setTimeout(resolve, SETTLE_MS);
      };
      if (signal.aborted) arm();
      else signal.addEventListener('abort', arm, { once: true });
    });
    await Promise.race([settled, stopped]);
    clearTimeout(late);
    this.#writing = false;
  }

  get progress(): Omit<WriterProgress, 'perHandle'> {
    return {
      elapsedMs: Math.round(performance.now() - this.#startedMs),
      handles: this.#handles.length,
      ackedBlocks: this.#handles.reduce((sum, handle) => sum + handle.ackedBlocks, 0),
      maxPauseMs: Math.round(Math.max(0, ...this.#handles.map((handle) => handle.maxPauseMs(this.#writing)))),
      callerErrors: this.#handles.reduce((sum, handle) => sum + handle.errors.length, 0),
      failovers: this.#failovers.length,
      reclaimed: this.#failovers.reduce((sum, failover) => sum + failover.reclaimed, 0),
      address: this.#client.address ?? null,
    };
  }

  /** What there is to tell, and what pauses there were since this was last asked. */
  takeProgress(): WriterProgress {
    const perHandle = this.#handles.map((handle) => ({
      ackedBlocks: handle.ackedBlocks,
      pauseMs: Math.round(handle.takePauseMs(this.#writing)),
    }));
    return { ...this.progress, perHandle };
  }

  report(): WriterReport {
    const { writer, share, blockBytes, slots } = this.#options;
    const { ackedBlocks, maxPauseMs, callerErrors, elapsedMs } = this.progress;
    return {
      version: 1,
      writer,
      share,
      blockBytes,
      slots,
      bucketMs: BUCKET_MS,
      pauseThresholdMs: PAUSE_THRESHOLD_MS,
      startedAt: this.#startedAt.toISOString(),
      startedMonotonicNs: String(this.#startedNs),
      elapsedMs,
      ackedBlocks,
      maxPauseMs,
      callerErrors,
      failovers: this.#failovers,
      handles: this.#handles.map((handle) => handle.report()),
    };
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#handles.map((handle) => handle.close()));
  }
}

async function makeFolders(client: Client, folder: string): Promise<void> {
  const parts = folder.split('/').filter((part) => part !== '');
  for (let i = 1; i <= parts.length; i++) {
    try {
      await client.mkdir(parts.slice(0, i).join('/'));
    } catch (error) {
      if ((error as SmbError).code !== 'STATUS_OBJECT_NAME_COLLISION') throw error;
    }
  }
}

/** Writes the report so that a reader never sees half of it. */
export async function saveReport(file: string, report: WriterReport): Promise<void> {
  await writeFile(`${file}.part`, `${JSON.stringify(report)}\n`);
  await rename(`${file}.part`, file);
}
