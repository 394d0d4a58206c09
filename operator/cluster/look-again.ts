/**
 * What is not watched is looked at now and then. How often depends on how many clusters there are, so that the API server hears of an
 * operator at rest less than once a second, be they ten or a thousand.
 */
export interface LookAgain {
  /** Not more often than this, however few clusters there are. */
  leastMs: number;
  /** For each cluster: the time that one look may take up. */
  perClusterMs: number;
}

export function lookAgainMs({ leastMs, perClusterMs }: LookAgain, clusters: number): number {
  return Math.max(leastMs, clusters * perClusterMs);
}
