import { monotonicMs } from '../../common/time.ts';
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

/** Planned handoffs of this pod: those that it is the source of, and what it keeps as a target. */
export class Handoff {
  readonly custody: Custody;
  readonly #is: Components;
  readonly #endings: Endings;
  readonly #registration: Registration;
  readonly #migrations = new Map<string, { migration: Migration; outcome: Promise<MigrationProgress> | undefined }>();

  constructor(components: Components, endings: Endings, registration: Registration) {
    this.#is = components;
    this.#endings = endings;
    this.#registration = registration;
    this.custody = new Custody(components);
  }

  async prepare(request: MigrateRequest): Promise<MigrationProgress> {
    const entry = this.#entry(request);
    if (!entry.outcome) await entry.migration.prepare(this.#members());
    return MigrationProgress.create(entry.migration.progress);
  }

  /** Joins the one that runs, or repeats the outcome of the one that ended. */
  async migrate(
    request: MigrateRequest,
    onProgress: (progress: MigrationProgress) => void,
  ): Promise<MigrationProgress> {
    const entry = this.#entry(request);
    if (request.leaving) this.#registration.leaving = true;
    const before = entry.migration.onProgress;
    entry.migration.onProgress = (progress) => {
      before(progress);
      onProgress(MigrationProgress.create(progress));
    };
    entry.outcome ??= entry.migration.run(this.#members());
    return MigrationProgress.create(await entry.outcome);
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
    const untilMs = monotonicMs() + timeoutMs;
    const sum = { moved: 0n, released: 0n, left: 0n };
    const add = (progress: MigrationProgress) => {
      sum.moved += progress.moved;
      sum.released += progress.released;
      sum.left = progress.left;
    };
    this.#registration.leaving = true;
    for (const { migration, outcome } of this.#migrations.values()) {
      if (outcome && !migration.progress.done) add(await outcome);
    }
    const request = {
      migrationId: `drain-${monotonicMs()}`,
      targetPods: [],
      timeoutMs: Math.max(untilMs - monotonicMs(), 1),
      leaving: true,
    };
    const progress = await this.migrate(request, () => {});
    add(progress);
    return DrainReply.create({ ...sum, message: progress.message });
  }

  #members(): Member[] {
    return [...this.#is.cluster.members.values()];
  }

  #entry(request: MigrateRequest) {
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
