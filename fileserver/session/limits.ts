// What one connection may take. What one user may, and all together: usage.ts.

/** The most that one READ, WRITE or transaction may carry, in bytes; announced in NEGOTIATE. */
export const MAX_IO_SIZE = 8 * 1024 * 1024;
/** The most that a message may have before somebody has logged on, and after: the largest WRITE and room for its headers. */
export const MAX_FRAME_BEFORE_LOGON = 64 * 1024;
export const MAX_FRAME = MAX_IO_SIZE + 64 * 1024;
/** Requests in one compound; Windows takes as many as fit, no client sends more than a handful. */
export const MAX_COMPOUND = 64;
/** Replies that wait in memory for a client that does not read: more is not taken from it until they are gone. */
export const MAX_UNSENT = 16 * 1024 * 1024;
/** The same of a connection alone: bytes of requests that are being worked on, and of the replies to READs among them. */
export const MAX_IN_FLIGHT = 48 * 1024 * 1024;
/** Up to here the frames of a turn are copied together for one write. */
export const MAX_GATHERED = 64 * 1024;
/** Sessions that have ended but keep their keys for an answer that is still to be signed. */
export const MAX_RETIRED = 8;
/** Until somebody has logged on; and after the last session of a connection has ended. */
export const LOGON_TIMEOUT_MS = 30_000;
export const LOGGED_OFF_TIMEOUT_MS = 5 * 60_000;
/** A large message that has begun to arrive holds memory no longer. */
export const ARRIVAL_TIMEOUT_MS = 120_000;
/** So long what a client still sends is taken, and thrown away, on a connection that this server has ended. */
export const LINGER_MS = 1000;
/** From this size on a message that has begun to arrive counts as in flight, and a reply that its client does not read. */
export const SMALL = 64 * 1024;
/** Requests that wait (locks, breaks) at once on a connection; further ones are refused (MS-SMB2 3.3.4.2). */
export const MAX_ASYNC = 1024;
/** Tree connects of one session. */
export const MAX_TREES = 1024;
/** Byte-range locks that a process keeps, of all files that are open in it; 80 bytes each. */
export const MAX_LOCKS = 262_144;
