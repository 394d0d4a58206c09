/** The API server cannot be reached, or does not let us look; the message says what to do. */
export class ClusterAccessError extends Error {
  readonly code = 'CLUSTER_ACCESS';
}
