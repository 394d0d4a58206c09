// `holdfast migrations`: moves of handles, those that run first, then the newest.
import type { HandleMigration } from '../../../crds/generated/handlemigration.ts';
import { age, type Column, formatTable } from './table.ts';

export interface MigrationRow {
  namespace: string;
  name: string;
  cluster: string;
  source: string;
  targets: string[];
  reason: string;
  phase: string;
  moved: number;
  released: number;
  expired: number;
  total: number;
  /** Seconds that it took, or has taken so far. */
  seconds: number | undefined;
  /** Since it was made. */
  ageMs: number | undefined;
  message: string | undefined;
}

/** Whether it has not ended. */
export function isUnderWay({ status }: HandleMigration): boolean {
  return status?.phase !== 'Succeeded' && status?.phase !== 'Failed';
}

/** @param nowMs wall clock, as the API server's times are */
export function migrationRows(migrations: readonly HandleMigration[], nowMs: number): MigrationRow[] {
  const madeMs = ({ metadata }: HandleMigration) => timeMs(metadata.creationTimestamp) ?? nowMs;
  const sorted = [...migrations].sort((a, b) => Number(isUnderWay(b)) - Number(isUnderWay(a)) || madeMs(b) - madeMs(a));
  return sorted.map((migration) => {
    const { metadata, spec, status } = migration;
    const startMs = timeMs(status?.startTime);
    const endMs = timeMs(status?.endTime) ?? nowMs;
    const { moved = 0, released = 0, expired = 0, total = 0 } = status?.handles ?? {};
    return {
      namespace: metadata.namespace ?? '',
      name: metadata.name ?? '',
      cluster: spec.cluster,
      source: spec.source,
      targets: status?.targets ?? spec.targets ?? [],
      reason: spec.reason,
      phase: status?.phase ?? 'Pending',
      moved,
      released,
      expired,
      total,
      seconds: startMs === undefined ? undefined : Math.max(0, endMs - startMs) / 1000,
      ageMs: nowMs - madeMs(migration),
      message: status?.message,
    };
  });
}

function timeMs(value: Date | string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const ms = new Date(value).getTime();
  return Number.isNaN(ms) ? undefined : ms;
}

const COLUMNS: Column[] = [
  { head: 'NAME' },
  { head: 'CLUSTER' },
  { head: 'SOURCE' },
  { head: 'REASON' },
  { head: 'PHASE' },
  { head: 'MOVED', isNumber: true },
  { head: 'RELEASED', isNumber: true },
  { head: 'EXPIRED', isNumber: true },
  { head: 'TOOK', isNumber: true },
  { head: 'AGE', isNumber: true },
  { head: 'MESSAGE' },
];

export function migrationLines(rows: readonly MigrationRow[], allNamespaces: boolean): string[] {
  if (rows.length === 0) return ['No handles have been moved here. (-A looks into all namespaces.)'];
  return formatTable(
    [...(allNamespaces ? [{ head: 'NAMESPACE' }] : []), ...COLUMNS],
    rows.map((row) => [
      ...(allNamespaces ? [row.namespace] : []),
      ...[row.name, row.cluster, row.source, row.reason, row.phase, `${row.moved}/${row.total}`, row.released],
      ...[
        row.expired,
        row.seconds === undefined ? undefined : `${row.seconds.toFixed(1)}s`,
        age(row.ageMs),
        row.message,
      ],
    ]),
  );
}
