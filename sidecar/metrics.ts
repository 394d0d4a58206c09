import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Why servers are fenced (fencer.ts). */
const FENCING_REASONS = ['process_ended', 'containers_ended', 'silent', 'finished'];

/** What a sidecar counts. Labels are bounded: never a path, a user or an address. */
export function createSidecarMetrics() {
  const registry = new Registry();
  const registers = [registry];
  const counter = <T extends string>(name: string, help: string, labelNames: T[] = []) =>
    new Counter<T>({ name, help, labelNames, registers });
  /** One whose label's values are there from the start: of what appears as 1 Prometheus sees no increase. */
  const known = <T extends string>(name: string, help: string, label: T, values: readonly string[]) => {
    const made = counter(name, help, [label]);
    for (const value of values) made.labels(value).inc(0);
    return made;
  };
  return {
    registry,
    decisions: counter('holdfast_sidecar_decisions_total', 'Requests of file servers decided, by kind and outcome', [
      'request',
      'outcome',
    ]),
    opens: new Gauge({ name: 'holdfast_opens', help: 'Opens of this pod, by state', labelNames: ['state'], registers }),
    locks: new Gauge({
      name: 'holdfast_byte_range_locks',
      help: 'Byte-range locks held through opens of this pod',
      registers,
    }),
    leases: new Gauge({
      name: 'holdfast_leases',
      help: 'Leases of opens of this pod, by what they grant (R read, H handle, W write caching) and whether a break is under way',
      labelNames: ['state'],
      registers,
    }),
    oplocks: new Gauge({
      name: 'holdfast_oplocks',
      help: 'Opens of this pod that hold an oplock (and not a lease)',
      registers,
    }),
    sessions: new Gauge({ name: 'holdfast_sessions_stored', help: 'Sessions of this pod in the table', registers }),
    orphans: new Gauge({ name: 'holdfast_orphaned_opens', help: "Orphaned opens in this pod's custody", registers }),
    scriptSeconds: new Histogram({
      name: 'holdfast_store_script_seconds',
      help: 'Time from sending a script to its answer',
      labelNames: ['script'],
      buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5],
      registers,
    }),
    reclaims: known('holdfast_reclaims_total', 'Opens that clients asked back, by result', 'result', [
      ...['granted', 'not_found', 'access_denied', 'not_available', 'other'],
    ]),
    breaks: known('holdfast_breaks_total', 'Caching breaks sent, by where to', 'to', ['own', 'peer']),
    fencings: known('holdfast_fencings_total', 'Servers fenced by this sidecar, by reason', 'reason', FENCING_REASONS),
    expired: counter('holdfast_opens_expired_total', 'Opens whose client did not come back in time'),
    storeReconnects: counter('holdfast_store_reconnects_total', 'Connections to the store that were made anew'),
    storeReconciled: counter(
      'holdfast_store_reconciliations_total',
      'Times that state was put back because another Redis process answered',
    ),
    storeLost: counter(
      'holdfast_store_losses_total',
      'Times that this sidecar found that the store had lost what was written, and had it put back',
    ),
    storeRefused: new Gauge({
      name: 'holdfast_store_refused',
      help: '1 while the store cannot be used, by the code of the reason',
      labelNames: ['reason'],
      registers,
    }),
    storeFull: new Gauge({
      name: 'holdfast_store_full',
      help: '1 while the store is out of memory: nothing new is opened or locked',
      registers,
    }),
    storeReachable: new Gauge({
      name: 'holdfast_store_reachable',
      help: '1 while the store answers renewals',
      registers,
    }),
    promises: known(
      'holdfast_promises_total',
      'Promises not to fence that peers asked for while the store was away',
      'result',
      ['given', 'refused'],
    ),
    extensions: known('holdfast_lease_extensions_total', 'Leases extended by promises of all peers, or not', 'result', [
      ...['extended', 'refused'],
    ]),
    renewals: known('holdfast_renewals_total', 'Renewals of file servers, by result', 'result', [
      ...['renewed', 'late', 'failed', 'fenced'],
    ]),
    handoffSteps: counter('holdfast_handoff_steps_total', 'Steps of planned handoffs, by step and result', [
      'step',
      'result',
    ]),
    handoffOpens: known('holdfast_handoff_opens_total', 'Opens in planned handoffs, by what became of them', 'result', [
      ...['moved', 'released', 'expired'],
    ]),
    handoffSeconds: new Histogram({
      name: 'holdfast_handoff_session_seconds',
      help: 'Time from quiescing one session to its release',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
      registers,
    }),
  };
}

export type SidecarMetrics = ReturnType<typeof createSidecarMetrics>;
