import { Durability } from '../../../proto/generated/handles.ts';
import { Capabilities, Dialect, DurableFlags, LeaseState, OplockLevel } from '../../../smb/constants.ts';
import type { FullEa } from '../../../smb/fscc/ea.ts';
import { decodeSecurityDescriptor, type SecurityDescriptor } from '../../../smb/security/descriptor.ts';
import { Status } from '../../../smb/status.ts';
import type { CreateRequest } from '../../../smb/wire/create.ts';
import {
  type AppInstanceVersion,
  type DH2C,
  type DH2QRequest,
  decodeAlSi,
  decodeAppInstanceId,
  decodeAppInstanceVersion,
  decodeDH2C,
  decodeDH2QRequest,
  decodeDHnC,
  decodeDHnQRequest,
  decodeMxAcRequest,
  decodeRqLs,
  decodeTWrp,
  findCreateContext,
  type LeaseContext,
  CreateContextName as Name,
} from '../../../smb/wire/create-contexts.ts';
import type { FileId } from '../../../smb/wire/cursor.ts';
import { WireError } from '../../../smb/wire/errors.ts';
import type { Connection } from '../../session/connection.ts';
import { StatusError } from '../../session/request.ts';
import { decodeEaList } from '../set-info/extended-attributes.ts';

/** What the contexts of a CREATE ask for. */
export interface Wishes {
  durable: DH2QRequest | undefined;
  /** DHnQ, version 1 of the same. */
  durableV1: boolean;
  reconnectV1: FileId | undefined;
  reconnect: DH2C | undefined;
  lease: LeaseContext | undefined;
  appInstanceId: Buffer | undefined;
  appInstanceVersion: AppInstanceVersion | undefined;
  /** Bytes. */
  allocationSize: number;
  maximalAccess: { timestamp: bigint | undefined } | undefined;
  diskId: boolean;
  /** SecD. */
  descriptor: SecurityDescriptor | undefined;
  /** ExtA; empty: none. */
  extendedAttributes: FullEa[];
}

/** Decodes the contexts. Throws WireError, and StatusError where the request is refused because of one. */
export function wishesOf(create: CreateRequest, dialect: number): Wishes {
  const find = (name: string) => findCreateContext(create.createContexts, name);
  const extendedAttributes = find(Name.EA_BUFFER);
  const descriptor = find(Name.SD_BUFFER);
  const snapshot = find(Name.TIMEWARP_TOKEN);
  if (snapshot) {
    decodeTWrp(snapshot);
    // There are no snapshots: no file existed at that time.
    throw new StatusError(Status.OBJECT_NAME_NOT_FOUND);
  }
  const is3 = dialect >= Dialect.SMB_3_0;
  const v1 = find(Name.DURABLE_HANDLE_REQUEST);
  const v2 = is3 ? find(Name.DURABLE_HANDLE_REQUEST_V2) : undefined;
  const reconnectV1 = find(Name.DURABLE_HANDLE_RECONNECT);
  const reconnectV2 = is3 ? find(Name.DURABLE_HANDLE_RECONNECT_V2) : undefined;
  checkTogether({ v1, v2, reconnectV1, reconnectV2 });
  if (v1) decodeDHnQRequest(v1);
  const lease = find(Name.REQUEST_LEASE);
  // A reconnect names its lease whatever the level that it asks for (3.3.5.9.7, 3.3.5.9.12).
  const isReconnect = reconnectV1 !== undefined || reconnectV2 !== undefined;
  const wantsLease = dialect >= Dialect.SMB_2_1 && (create.requestedOplockLevel === OplockLevel.LEASE || isReconnect);
  const appInstanceId = is3 && !reconnectV2 ? find(Name.APP_INSTANCE_ID) : undefined;
  const appInstanceVersion = dialect === Dialect.SMB_3_1_1 ? find(Name.APP_INSTANCE_VERSION) : undefined;
  const allocation = find(Name.ALLOCATION_SIZE);
  const maximalAccess = find(Name.QUERY_MAXIMAL_ACCESS_REQUEST);
  return {
    durable: v2 && decodeDH2QRequest(v2),
    durableV1: v1 !== undefined,
    reconnectV1: reconnectV1 && decodeDHnC(reconnectV1),
    reconnect: reconnectV2 && decodeDH2C(reconnectV2),
    lease: lease && wantsLease ? decodeRqLs(lease) : undefined,
    appInstanceId: appInstanceId && decodeAppInstanceId(appInstanceId),
    appInstanceVersion: appInstanceId && appInstanceVersion && decodeAppInstanceVersion(appInstanceVersion),
    allocationSize: allocation ? decodeAlSi(allocation) : 0,
    maximalAccess: maximalAccess && { timestamp: decodeMxAcRequest(maximalAccess) },
    diskId: find(Name.QUERY_ON_DISK_ID) !== undefined,
    descriptor: descriptor && decodeDescriptor(descriptor),
    extendedAttributes: extendedAttributes ? decodeEaList(extendedAttributes) : [],
  };
}

/** Throws StatusError. */
function decodeDescriptor(data: Buffer): SecurityDescriptor {
  try {
    return decodeSecurityDescriptor(data);
  } catch (error) {
    if (error instanceof WireError) throw new StatusError(Status.INVALID_SECURITY_DESCR);
    throw error;
  }
}

/** MS-SMB2 3.3.5.9.6, .7, .10, .12: which durable contexts exclude one another. */
function checkTogether(given: Record<'v1' | 'v2' | 'reconnectV1' | 'reconnectV2', Buffer | undefined>): void {
  const { v1, v2, reconnectV1, reconnectV2 } = given;
  if (reconnectV2 && (v1 || v2 || reconnectV1)) throw new StatusError(Status.INVALID_PARAMETER);
  if (reconnectV1 && v2) throw new StatusError(Status.INVALID_PARAMETER);
  if (v1 && v2) throw new StatusError(Status.INVALID_PARAMETER);
}

/** Longest timeout that a client may ask for, of an open that is durable only (MS-SMB2 3.3.5.9.10). */
const MAXIMUM_TIMEOUT_MS = 300_000;

export interface GrantedDurability {
  durability: Durability;
  timeoutMs: number;
}

const NOT_DURABLE: GrantedDurability = { durability: Durability.NOT_DURABLE, timeoutMs: 0 };

/** A client with a batch oplock or a lease with handle caching can be asked to give its open up (MS-SMB2 3.3.5.9.6, .10). */
export function wantsHandleCaching(create: CreateRequest, { lease }: Wishes): boolean {
  return (
    create.requestedOplockLevel === OplockLevel.BATCH ||
    (lease !== undefined && (lease.leaseState & LeaseState.HANDLE_CACHING) !== 0)
  );
}

/**
 * What durability a new open is to get (MS-SMB2 3.3.5.9.6, 3.3.5.9.10): persistent on a continuously available share where the client
 * asks for it and the connection can, else durable if it asks for handle caching; the table then grants it if it grants that.
 */
export function durabilityFor(
  create: CreateRequest,
  wishes: Wishes,
  where: {
    connection: Connection;
    continuouslyAvailable: boolean;
    isDirectory: boolean;
    persistentTimeoutMs: number;
    durableTimeoutMs: number;
  },
): GrantedDurability {
  const { durable, durableV1 } = wishes;
  if (!durable && !durableV1) return NOT_DURABLE;
  const canPersist = (where.connection.serverCapabilities & Capabilities.PERSISTENT_HANDLES) !== 0;
  if (durable && (durable.flags & DurableFlags.PERSISTENT) !== 0 && where.continuouslyAvailable && canPersist) {
    const timeoutMs = durable.timeoutMs === 0 ? where.persistentTimeoutMs : durable.timeoutMs;
    return {
      durability: Durability.PERSISTENT,
      timeoutMs: Math.min(timeoutMs, Math.max(MAXIMUM_TIMEOUT_MS, where.persistentTimeoutMs)),
    };
  }
  if (where.isDirectory || !wantsHandleCaching(create, wishes)) return NOT_DURABLE;
  const asked = durable?.timeoutMs ?? 0;
  const timeoutMs = asked === 0 ? where.durableTimeoutMs : Math.min(asked, MAXIMUM_TIMEOUT_MS);
  return { durability: Durability.DURABLE, timeoutMs };
}
