import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { HandleMigration } from '../crds/generated/handlemigration.ts';

const REASONS: HandleMigration['spec']['reason'][] = ['Drain', 'Cordon', 'Upgrade', 'ScaleDown', 'Rebalance', 'Manual'];
const UNFINISHED_PHASES = ['Pending', 'Preparing', 'CuttingRouting', 'Transferring'] as const;

/** A HandleMigration that has not ended, as metrics show it. */
export interface UnfinishedMigration {
  phase: (typeof UNFINISHED_PHASES)[number];
  /** Since it was created. */
  ageSeconds: number;
}

/** The operator's metrics. Labels are bounded: never the name of a cluster, pod, path or user. */
export class OperatorMetrics {
  readonly registry = new Registry();

  readonly reconciles = new Counter({
    name: 'holdfast_operator_reconciles_total',
    help: 'Reconciliations by controller and result (ok, conflict, error).',
    labelNames: ['controller', 'result'] as const,
    registers: [this.registry],
  });

  readonly reconcileSeconds = new Histogram({
    name: 'holdfast_operator_reconcile_duration_seconds',
    help: 'How long reconciliations took.',
    labelNames: ['controller'] as const,
    buckets: [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60],
    registers: [this.registry],
  });

  readonly migrations = new Counter({
    name: 'holdfast_operator_migrations_total',
    help: 'Migrations that ended, by reason and result (Succeeded, Failed).',
    labelNames: ['reason', 'result'] as const,
    registers: [this.registry],
  });

  readonly migrationSeconds = new Histogram({
    name: 'holdfast_operator_migration_duration_seconds',
    help: 'From the beginning of a migration to its end, without the wait for its turn.',
    labelNames: ['reason'] as const,
    buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300],
    registers: [this.registry],
  });

  readonly handles = new Counter({
    name: 'holdfast_operator_migration_handles_total',
    help: 'Handles of migrations by what became of them (moved, released, expired).',
    labelNames: ['outcome'] as const,
    registers: [this.registry],
  });

  readonly apiRequests = new Counter({
    name: 'holdfast_operator_api_requests_total',
    help: 'Requests to the Kubernetes API by verb (GET, POST, PATCH, PUT, DELETE, WATCH).',
    labelNames: ['verb'] as const,
    registers: [this.registry],
  });

  readonly leading = new Gauge({
    name: 'holdfast_operator_leading',
    help: '1 while this process is the one that acts.',
    registers: [this.registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry });
    // Of a series that appears as 1 Prometheus sees no increase: the first failure has to be one too.
    for (const reason of REASONS)
      for (const result of ['Succeeded', 'Failed']) this.migrations.inc({ reason, result }, 0);
    for (const reason of REASONS) this.migrationSeconds.zero({ reason });
    for (const outcome of ['moved', 'released', 'expired']) this.handles.inc({ outcome }, 0);
  }

  /** Reports the depth of queues, the clusters by state and the migrations that have not ended when scraped. */
  observe(
    queues: Record<string, () => number>,
    clusters: () => { available: number; degraded: number; all: number },
    unfinished: () => readonly UnfinishedMigration[],
  ): void {
    new Gauge({
      name: 'holdfast_operator_queue_depth',
      help: 'Keys that wait to be reconciled.',
      labelNames: ['controller'] as const,
      registers: [this.registry],
      collect() {
        for (const [controller, depth] of Object.entries(queues)) this.set({ controller }, depth());
      },
    });
    new Gauge({
      name: 'holdfast_operator_clusters',
      help: 'FileServerClusters by state (all, available, degraded).',
      labelNames: ['state'] as const,
      registers: [this.registry],
      collect() {
        for (const [state, count] of Object.entries(clusters())) this.set({ state }, count);
      },
    });
    new Gauge({
      name: 'holdfast_operator_migrations_unfinished',
      help: 'Migrations that have not ended, by phase (Pending ones wait for their turn or for a target).',
      labelNames: ['phase'] as const,
      registers: [this.registry],
      collect() {
        this.reset();
        for (const phase of UNFINISHED_PHASES) this.set({ phase }, 0);
        for (const { phase } of unfinished()) this.inc({ phase });
      },
    });
    new Gauge({
      name: 'holdfast_operator_migration_oldest_seconds',
      help: 'Age of the oldest migration that has not ended, since it was asked for; 0 without one.',
      registers: [this.registry],
      collect() {
        this.set(Math.max(0, ...unfinished().map(({ ageSeconds }) => ageSeconds)));
      },
    });
  }
}
