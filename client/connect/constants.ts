/** Port of SMB over TCP (MS-SMB2 2.1). */
export const SMB_PORT = 445;

/** How long the first address, and then each wave of others, is alone in the race before more are tried. */
export const WAVE_MS = 100;
/** How many other addresses are tried side by side in a wave. */
export const WAVE_SIZE = 3;
/** How long one address may take to a complete NEGOTIATE before its attempt is cancelled. */
export const ATTEMPT_TIMEOUT_MS = 3000;
/** Pause before the next round over all addresses: doubled each round from the first to the second value, half of it random. */
export const ROUND_BACKOFF_MIN_MS = 20;
export const ROUND_BACKOFF_MAX_MS = 1000;
/** How long a name may take to resolve before what is known of it is used instead. */
export const RESOLVE_TIMEOUT_MS = 2000;

/** Idle time of a socket before the kernel probes it (SO_KEEPALIVE). ECHO finds dead servers sooner; this is for half-open sockets. */
export const TCP_KEEPALIVE_MS = 10_000;
/** Largest message taken from a server: the largest READ (8 MiB) with room for headers. The frame's length field has 24 bits. */
export const MAX_FRAME_BYTES = 8 * 1024 * 1024 + 65_536;
/** Largest message taken before a session exists: NEGOTIATE and SESSION_SETUP responses are small. */
export const MAX_FRAME_BYTES_BEFORE_SESSION = 128 * 1024;
/** Size of the buffers that a socket is read into. */
export const RECEIVE_CHUNK_BYTES = 256 * 1024;
