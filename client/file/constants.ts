/** How long an operation may take, failover included, before the caller gets TIMED_OUT. */
export const OPERATION_TIMEOUT_MS = 60_000;
/** How often operations are looked through for ones that took too long. */
export const SWEEP_INTERVAL_MS = 100;

/** Pause before a request is tried again that the server could not serve: doubled from the first to the second, half of it random. */
export const RETRY_MIN_MS = 5;
export const RETRY_MAX_MS = 250;

/** How long a handle may wait to be reclaimed when the server named no timeout of its own. */
export const RECLAIM_TIMEOUT_MS = 300_000;
/** How often in a row a logon that worked before may be refused during failover before the client gives up. */
export const REFUSALS_BEFORE_GIVING_UP = 5;

/** Most bytes of one READ or WRITE; a server may allow less. */
export const MAX_IO_BYTES = 1024 * 1024;
/** Requests of one large read or write that are in flight together. */
export const PIPELINED_IO = 4;
/** Bytes of a directory listing that are asked for at once; a server may allow less. */
export const LIST_BUFFER_BYTES = 256 * 1024;

/** Lock sequence indices of an open (MS-SMB2 3.2.1.6 OperationBuckets): 1 to this. */
export const LOCK_BUCKETS = 64;
