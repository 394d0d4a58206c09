/** The value below which the given share of the sorted values lies, e.g. 0.5 for the median. NaN of nothing. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) return Number.NaN;
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/** What single rounds come to. */
export interface Spread {
  median: number;
  min: number;
  max: number;
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: quantile(values, 0.5), min: Math.min(...values), max: Math.max(...values) };
}

/** Counts of values in (previous limit, limit]; those beyond the last limit come in a bucket of their own. */
export interface Bucket {
  /** Upper limit; undefined for the last bucket. */
  to: number | undefined;
  count: number;
}

export function histogram(values: readonly number[], limits: readonly number[]): Bucket[] {
  const buckets: Bucket[] = [...limits, undefined].map((to) => ({ to, count: 0 }));
  for (const value of values) {
    const bucket = buckets.find(({ to }) => to === undefined || value <= to);
    if (bucket) bucket.count++;
  }
  return buckets;
}
