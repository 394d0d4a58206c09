/** Counters of this process; arrays on the hot path, collected on scrape. */
export interface Metrics {
  /** Counts a request: `microseconds` from its arrival to its answer. */
  request(command: number, status: number, microseconds: number): void;
}
