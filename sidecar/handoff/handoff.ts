import { reasonOf } from '../../common/errors.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import type { TraceRequest } from '../../common/tracing.ts';
import { type MigrateRequest, MigrationProgress } from '../../proto/generated/control.ts';
import { DrainReply } from '../../proto/generated/handles.ts';
import type { Components } from '../services/components.ts';
import type { Endings } from '../services/endings.ts';
import type { Member } from '../services/member.ts';
import type { Registration } from '../services/registration.ts';
import { Custody } from './custody.ts';
import { Migration } from './migration.ts';

const KEPT = 50;
const DEFAULT_TIMEOUT_MS = 60_000;
/** The outcome of leaving is left with the store within this time, or not at all. */
const NOTE_WITHIN_MS = 1000;

interface Started {
  migration: Migration;
  outcome: Promise<MigrationProgress>;
}

/** What goes by one migration id: its own migration, or the one that it joined. */
type Entry = Started | { migration: Migration; outcome: undefined };

/** Planned handoffs of this pod: those that it is the source of, and what it keeps as a target. */
export class Handoff {
  readonly custody: Custody;
  readonly #is: Components;
  readonly #endings: Endings;
  readonly #registration: Registration;
  readonly #migrations = new Map<string, Entry>();
  #running: Started | undefined;
  /** Everything has left by this one. */
  #left: Started | undefined;
  /** What all that left has come to, over every try. */
  readonly #handedOver = { moved: 0, released: 0, expired: 0 };
  #drains = 0;

  constructor(components: Components, endings: Endings, registration: Registration) {
    this.#is = components;
    this.#endings = endings;
    this.#registration = registration;
    this.custody = new Custody(components);
  }

  async prepare(request: MigrateRequest): Promise<MigrationProgress> {
    const entry = this.#entry(request);
    if (!entry.outcome) await entry.migration.prepare(this.#members(), request.trace);
    return MigrationProgress.create(entry.migration.progress);
  }

  /**
   * Joins the one that runs, or repeats the outcome of the one that ended. The operator's migration and the drain of the preStop hook
   * come at the same time, or one when the other has ended: whichever is first moves everything, and both report that.
   */
  async migrate(
    request: MigrateRequest,
    onProgress: (progress: MigrationProgress) => void,
  ): Promise<MigrationProgress> {
    if (request.leaving) this.#registration.leaving = true;
    const { migration, outcome } = await this.#started(request);
    const before = migration.onProgress;
    migration.onProgress = (progress) => {
      before(progress);
      onProgress(MigrationProgress.create(progress));
    };
    return MigrationProgress.create(await outcome);
  }

  cancel(migrationId: string): MigrationProgress {
    const entry = this.#migrations.get(migrationId);
    if (!entry)
      return MigrationProgress.create({ phase: 'Failed', done: true, message: 'there is no such migration here' });
    entry.migration.cancel();
    return MigrationProgress.create(entry.migration.progress);
  }

  /** The preStop hook: everything leaves, whether or not an operator is there. */
  async drain(timeoutMs: number): Promise<DrainReply> {
    const span = this.#is.traces.begin('drain');
    try {
      const reply = await this.#drain(timeoutMs, span.request);
      const counts = { moved: Number(reply.moved), released: Number(reply.released), left: Number(reply.left) };
      span.end(counts, reply.left > 0n ? reply.message : undefined);
      return reply;
    } catch (error) {
      span.end({}, reasonOf(error));
      throw error;
    }
  }

  async #drain(timeoutMs: number, trace: TraceRequest | undefined): Promise<DrainReply> {
    const untilMs = monotonicMs() + timeoutMs;
    const sum = { moved: 0n, released: 0n, left: 0n };
    for (;;) {
      const request = {
        migrationId: `drain-${++this.#drains}`,
        targetPods: [],
        timeoutMs: Math.max(untilMs - monotonicMs(), 1),
        leaving: true,
        trace,
      };
      const progress = await this.migrate(request, () => {});
      sum.moved += progress.moved;
      sum.released += progress.released;
      sum.left = progress.left;
      // Whoever cancelled a migration that this joined did not mean the pod, which goes away all the same.
      if (progress.phase !== 'Cancelled' || monotonicMs() > untilMs)
        return DrainReply.create({ ...sum, message: progress.message });
    }
  }

  /** The migration that a request stands for: its own, begun now, or the one that does the same already. */
  async #started(request: MigrateRequest): Promise<Started> {
    for (;;) {
      const entry = this.#entry(request);
      if (entry.outcome) return entry;
      const running = this.#running;
      if (!running && request.leaving && this.#left && !this.#holdsOpens()) {
        this.#migrations.set(request.migrationId, this.#left);
        return this.#left;
      }
      if (!running) return this.#start(request, entry.migration);
      if (running.migration.leaving || request.leaving) {
        running.migration.join({ leaving: request.leaving, timeoutMs: request.timeoutMs || DEFAULT_TIMEOUT_MS });
        this.#migrations.set(request.migrationId, running);
        return running;
      }
      await running.outcome; // two that both go elsewhere: one after the other
    }
  }

  #start({ migrationId, trace }: MigrateRequest, migration: Migration): Started {
    const outcome = migration
      .run(() => this.#members(), trace)
      .then(async (progress) => {
        if (migration.leaving) await this.#note(progress);
        this.#running = undefined;
        if (migration.leaving && progress.left === 0n) this.#answerWaiting(started);
        return progress;
      });
    const started: Started = { migration, outcome };
    this.#running = started;
    this.#migrations.set(migrationId, started);
    return started;
  }

  /** Leaves word of the outcome with the store: who asked for it may ask again only when this pod has ended. */
  async #note(progress: MigrationProgress): Promise<void> {
    const { registry, log } = this.#is;
    for (const key of ['moved', 'released', 'expired'] as const) this.#handedOver[key] += Number(progress[key]);
    const handedOver = { ...this.#handedOver, left: Number(progress.left) };
    const noted = Promise.all(this.#members().map((member) => registry.set(member.identity, { handedOver })));
    const over = new AbortController();
    try {
      await Promise.race([
        noted,
        delay(NOTE_WITHIN_MS, over.signal).then(() => {
          throw new Error('the store does not answer');
        }),
      ]);
    } catch (error) {
      log.info({ reason: reasonOf(error) }, 'the outcome of leaving is not noted');
    } finally {
      over.abort();
      noted.catch(() => {});
    }
  }

  #holdsOpens(): boolean {
    return this.#members().some((member) => !member.over && member.holdsOpens);
  }

  /** Those that were prepared while everything left have nothing to do any more: what they wanted has been done. */
  #answerWaiting(ended: Started): void {
    this.#left = ended;
    for (const [id, entry] of this.#migrations) if (!entry.outcome) this.#migrations.set(id, ended);
  }

  #members(): Member[] {
    return [...this.#is.cluster.members.values()];
  }

  #entry(request: MigrateRequest): Entry {
    let entry = this.#migrations.get(request.migrationId);
    if (!entry) {
      const migration = new Migration(this.#is, this.#endings, {
        ...request,
        timeoutMs: request.timeoutMs || DEFAULT_TIMEOUT_MS,
      });
      entry = { migration, outcome: undefined };
      this.#migrations.set(request.migrationId, entry);
      for (const [id, old] of this.#migrations) {
        if (this.#migrations.size <= KEPT) break;
        if (old.migration.progress.done) this.#migrations.delete(id);
      }
    }
    return entry;
  }
}
