/** What a file server does, by its metrics. */
export interface Rates {
  requestsPerSecond: number;
  receivedBytesPerSecond: number;
  sentBytesPerSecond: number;
}

/** Counters of one scrape. */
export interface Counters {
  atMs: number;
  requests: number;
  receivedBytes: number;
  sentBytes: number;
}

/** Sums counters of the text format of Prometheus. @param atMs when it was read, monotonic ms */
export function countersOf(text: string, atMs: number): Counters {
  const sums = { requests: 0, receivedBytes: 0, sentBytes: 0 };
  for (const line of text.split('\n')) {
    const [, name, value] =
      /^holdfast_fileserver_(requests|received_bytes|sent_bytes)_total(?:\{.*\})? (\S+)/.exec(line) ?? [];
    if (name === undefined) continue;
    const number = Number(value);
    if (!Number.isFinite(number)) continue;
    if (name === 'requests') sums.requests += number;
    else if (name === 'received_bytes') sums.receivedBytes += number;
    else sums.sentBytes += number;
  }
  return { atMs, ...sums };
}

/** What happened between two scrapes; undefined when the server was started anew between them. */
export function ratesBetween(before: Counters, after: Counters): Rates | undefined {
  const seconds = (after.atMs - before.atMs) / 1000;
  if (seconds <= 0 || after.requests < before.requests || after.sentBytes < before.sentBytes) return undefined;
  return {
    requestsPerSecond: (after.requests - before.requests) / seconds,
    receivedBytesPerSecond: Math.max(0, after.receivedBytes - before.receivedBytes) / seconds,
    sentBytesPerSecond: (after.sentBytes - before.sentBytes) / seconds,
  };
}
