/** Credits that a connection works towards having; each lets 64 KiB be in flight (MS-SMB2 3.1.5.2). */
export const CREDIT_TARGET = 512;
/** Most credits that one request asks for beyond its own charge. */
export const CREDIT_STEP = 128;
/** Credits kept back from ordinary requests, so that an ECHO can always be sent. */
export const CREDIT_RESERVE = 1;

/** How often a connection looks whether its server is alive. */
export const PROBE_INTERVAL_MS = 100;
/** With requests outstanding and nothing received for this long, the server is asked by an ECHO. */
export const PROBE_AFTER_MS = 500;
/** With nothing outstanding and nothing received for this long, the same. */
export const PROBE_IDLE_MS = 10_000;
/** The connection is lost when nothing at all was received for this long after an ECHO. */
export const PROBE_TIMEOUT_MS = 1000;
/** A tick later than this says that this process slept, and proves nothing about the server. */
export const PROBE_TOLERANCE_MS = 200;

/**
 * How long one exchange of session setup or tree connect may take. The server has just answered NEGOTIATE, but may have to wait
 * until the server that had the session before has let go of it. What it began goes on there, so another attempt is no loss:
 * it may take twice as long each time, up to the second value.
 */
export const ESTABLISH_TIMEOUT_MS = 3000;
export const ESTABLISH_TIMEOUT_MAX_MS = 24_000;

/** How long LOGOFF may take before the connection is simply closed. */
export const LOGOFF_TIMEOUT_MS = 500;
