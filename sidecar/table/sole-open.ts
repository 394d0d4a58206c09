import {
  Durability,
  type FileState,
  type Lease,
  type OpenRecord,
  OpenState,
  OplockLevel,
} from '../../proto/generated/handles.ts';
import { LeaseState } from '../constants.ts';
import { type Identity, idBytes } from './keys.ts';
import type { Packer } from './packed.ts';
import { bodyOf } from './records.ts';

/**
 * The commonest case by far: a file that nobody else has open. There is nothing to arbitrate then, so that what its record holds is
 * known before the script runs, and the script (open.lua) only has to see that there is none; close.lua compares it, and removes it.
 * All of it is packed byte for byte as the scripts pack it.
 */
/** Version of the layout: LAYOUT of common.lua. */
const LAYOUT = 1;

const { READ, HANDLE, WRITE } = LeaseState;

/** What an oplock is kept as, by its level (common.lua, section holding). */
const OPLOCK_STATES: Partial<Record<OplockLevel, number>> = {
  [OplockLevel.OPLOCK_LEVEL_II]: READ,
  [OplockLevel.OPLOCK_EXCLUSIVE]: READ | WRITE,
  [OplockLevel.OPLOCK_BATCH]: READ | HANDLE | WRITE,
};

/** The open as it is granted where nobody else has the file open: what is asked for, as far as there is such a thing. */
export function grantedAlone(asked: OpenRecord, me: Identity): OpenRecord {
  const lease = asked.lease && leaseGranted(asked.lease, asked.isDirectory);
  const oplock =
    asked.isDirectory && asked.oplock !== OplockLevel.OPLOCK_LEASE ? OplockLevel.OPLOCK_NONE : asked.oplock;
  // A durable open is one whose client can be asked to give its handle up (MS-SMB2 3.3.5.9.6, 3.3.5.9.10).
  const isDurable = asked.durability !== Durability.DURABLE || (stateOf({ oplock, lease }) & HANDLE) !== 0;
  return {
    ...asked,
    owner: { serverId: me.serverId, epoch: BigInt(me.epoch) },
    ownershipVersion: 1n,
    state: OpenState.ACTIVE,
    oplock,
    lease,
    durability: isDurable ? asked.durability : Durability.NOT_DURABLE,
    deletePending: false,
    locks: [],
    lockSequences: NO_BYTES,
  };
}

const NO_BYTES = Buffer.alloc(0);

/** MS-SMB2 3.3.5.9.8 and 3.3.5.9.11: no state without reading, none that writes on a directory. */
function leaseGranted(asked: Lease, isDirectory: boolean): Lease {
  const state = isDirectory ? asked.state & ~WRITE : asked.state;
  return { ...asked, state: state & READ ? state : 0, epoch: (asked.epoch + 1) % 65_536, breaking: false };
}

/** What may be cached, as the state of a lease. */
export function stateOf({ oplock, lease }: Pick<OpenRecord, 'oplock' | 'lease'>): number {
  return oplock === OplockLevel.OPLOCK_LEASE ? (lease?.state ?? 0) : (OPLOCK_STATES[oplock] ?? 0);
}

/** The state of a file that only this open has: `file_state` of common.lua. */
export function stateOfSole(granted: OpenRecord, version: bigint): FileState {
  const { fileId, lease, clientGuid, openId } = granted;
  const readCached = cachesReads(granted);
  const isHolder = readCached && (lease !== undefined || (stateOf(granted) & WRITE) !== 0);
  const cachedBy = !isHolder ? NO_BYTES : lease ? Buffer.concat([clientGuid, lease.key]) : idBytes(openId);
  return { fileId, version, locks: [], readCached, cachedBy, deletePending: false };
}

/**
 * Writes the record of a file that only this open has as four arguments of open.lua and close.lua: the open (field o of the file's record), m behind
 * layout and version, c, and h, which is empty where nothing may be cached.
 * @param granted an active open that nothing was changed of since it was granted
 */
export function packSoleOpen(packer: Packer, granted: OpenRecord, owner: string): void {
  for (const part of [packOpen, packMeta, packCounts, packHolders]) {
    const began = packer.begin();
    part(packer, granted, owner);
    packer.end(began);
  }
}

/** Fields O_ of common.lua. */
function packOpen(packer: Packer, record: OpenRecord, owner: string): void {
  const { lease, oplock } = record;
  packer.list(21).number(LAYOUT).text(owner).number(Number(record.ownershipVersion)).number(OpenState.ACTIVE);
  packer.number(record.access).number(record.shareAccess).number(record.durability).number(record.timeoutMs);
  packer.bytes(record.createGuid).bytes(record.clientGuid).text(record.user).id(record.sessionId);
  packer.number(oplock === OplockLevel.OPLOCK_LEASE ? oplock : oplock > 0 ? 1 : 0).bytes(lease?.key ?? NO_BYTES);
  packer.number(record.deleteOnClose ? 1 : 0).number(1); // the first of the names
  packer.number(0).no().bytes(NO_BYTES); // no operation yet
  packer.bytes(record.attachment).bytes(bodyOf(record));
}

/** Fields M_ of common.lua, from M_DELETE_PENDING on. */
function packMeta(packer: Packer, { share, path }: OpenRecord): void {
  packer.number(0).no().list(1).list(2).text(share).text(path).no();
}

/** `count` of common.lua, for one open. */
function packCounts(packer: Packer, { access, shareAccess, durability }: OpenRecord, owner: string): void {
  const reads = (access & 0x21) !== 0;
  const writes = (access & 0x6) !== 0;
  const deletes = (access & 0x1_0000) !== 0;
  const denied = reads || writes || deletes ? ~shareAccess : 0;
  packer
    .map(1)
    .text(owner)
    .map(1)
    .text(CLASSES[durability] ?? 'n')
    .list(8)
    .number(1);
  packer
    .number(reads ? 1 : 0)
    .number(writes ? 1 : 0)
    .number(deletes ? 1 : 0);
  packer
    .number(denied & 1)
    .number((denied >> 1) & 1)
    .number(((denied >> 2) & 1) + ((access & KEEPS_FILE) !== 0 ? 1 : 0));
  packer.number(isPlain(access) ? 1 : 0);
}

/** Classes of active opens in the counts. */
const CLASSES: Partial<Record<Durability, string>> = {
  [Durability.DURABLE]: 'd',
  [Durability.PERSISTENT]: 'p',
  [Durability.RESILIENT]: 'r',
};

/** See common.lua, section counts. */
const KEEPS_FILE = 0x80_0000;
const isPlain = (access: number) => (access & ~0x90_0180) !== 0;

/** H_VERSION of an oplock that is its file server's own: SERVERS_OWN of common.lua. */
const SERVERS_OWN = 3;

/** What a holder of caching has as its version: that of its lease, or that an oplock is not a client's. */
export function holderVersion({ lease, kept }: OpenRecord): number {
  return lease?.version ?? (kept ? SERVERS_OWN : 0);
}

/** Whether the client of the only open of a file caches what it reads. */
export function cachesReads(granted: OpenRecord): boolean {
  return !granted.kept && (stateOf(granted) & READ) !== 0;
}

/** Fields H_ of common.lua: a lease by ClientGuid and key, an oplock by its open. */
function packHolders(packer: Packer, record: OpenRecord, owner: string): void {
  const { oplock, lease, clientGuid, durability, access } = record;
  if (oplock === OplockLevel.OPLOCK_NONE) return;
  packer.map(1);
  if (lease) packer.bytes(Buffer.concat([clientGuid, lease.key]));
  else packer.id(record.openId);
  packer.list(9).number(stateOf(record)).negativeOne().number(0);
  packer
    .number(lease?.epoch ?? 0)
    .number(holderVersion(record))
    .bytes(lease?.parentKey ?? NO_BYTES);
  packer
    .map(1)
    .text(owner)
    .map(1)
    .text(CLASSES[durability] ?? 'n')
    .number(1);
  packer.number(0).number(isPlain(access) ? 1 : 0);
}
