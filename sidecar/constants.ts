/** Numbers of the sidecar, with their units in their names. */

/** Every file, session, directory and create hint lies in one of so many shards (handle-state.md). */
export const SHARDS = 64;
/**
 * Version of what is written into the store. The store names the lowest that whoever uses it has to know; it is raised only by a version
 * after the one that first could read it, so that two versions that follow each other work side by side.
 */
export const SCHEMA = 1;
/**
 * What of the store a sidecar understands that versions before it did not. What follows from it is done only where all understand it: each
 * says with its servers up to which it does.
 */
export const Understanding = {
  /** A shard forgets fenced servers. */
  FORGETTING: 1,
  /** The record of an open that ends with its server may be fleeting: not in the append-only file, nor in replicas. */
  FLEETING: 2,
} as const;
/** This version understands all of it. */
export const UNDERSTANDS = Understanding.FLEETING;
/** Version of the contract in proto/handles.proto. */
export const PROTOCOL = 1;
/** One step of a shard's clock; due times are counted in it. */
export const TICK_MS = 1000;
/** A newcomer waits so long for the client of a persistent open that is in its way (MS-SMB2 3.3.5.9). */
export const NEWCOMER_WAIT_MS = 5000;
/** A break that the client does not acknowledge is forced after so long (MS-SMB2 3.3.6.5 names 35 s). */
export const BREAK_TIMEOUT_MS = 35_000;
/** What a peer call cannot deliver in this time goes to the inbox in Redis. */
export const PEER_CALL_TIMEOUT_MS = 1000;
/** Between two tries of a decision that waits (a lock, a client that may come back, last writes that settle). */
export const RETRY_MS = 50;
/** How often a sidecar looks whether its certificates were rotated. */
export const TLS_LOOK_MS = 60_000;
/** Waiting lock requests are tried again at least this often, woken or not. */
export const LOCK_RETRY_MS = 1000;
/** Bits of a lease's state, as in MS-SMB2 2.2.13.2.8. */
export const LeaseState = { READ: 1, HANDLE: 2, WRITE: 4 } as const;
/** Opens handed over by one script. */
export const TRANSFER_BATCH = 64;
/** Records in one Keep or Prepare call, in one WarmUp command: the file server looks them up before it answers. */
export const RECORD_BATCH = 500;
/** Opens that a target is told of in one call. */
export const TOLD_AT_ONCE = 2000;
/** About so many bytes of records go into one call, however few they are: well below MAX_MESSAGE_BYTES. */
export const RECORD_BYTES = 4 * 1024 * 1024;
/** Bounds on what a file server may send: larger requests are refused as invalid. */
export const MAX_FILE_ID_BYTES = 160;
export const MAX_ATTACHMENT_BYTES = 4096;
export const MAX_PATH_BYTES = 65_536;
export const MAX_LOCK_ELEMENTS = 64;
/** Frames on the stream and messages between sidecars. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** Room for clocks that drift and timers that fire late between a server's own deadline and the moment others may fence it. */
export function marginMs(leaseDurationMs: number): number {
  return Math.max(leaseDurationMs / 10, 200);
}

/** How long a decision may wait for Redis before it is answered STORE_UNAVAILABLE. */
export function storeWaitMs(leaseDurationMs: number): number {
  return Math.max(3 * leaseDurationMs, 3000);
}
