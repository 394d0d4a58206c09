import { randomBytes } from 'node:crypto';
import {
  CreateDisposition,
  CreateOptions,
  DurableFlags,
  FileAccess,
  ImpersonationLevel,
  OplockLevel,
  ShareAccess,
} from '../../smb/constants.ts';
import type { CreateRequest } from '../../smb/wire/create.ts';
import {
  type CreateContext,
  CreateContextName,
  encodeDH2C,
  encodeDH2QRequest,
} from '../../smb/wire/create-contexts.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { wirePath } from './paths.ts';

export type Access = 'read' | 'write' | 'readwrite';
export type Disposition = 'open' | 'create' | 'openIf' | 'overwrite' | 'overwriteIf' | 'supersede';
/** What a server keeps of an open when its connection is lost, from nothing to everything. */
export type Durability = 'none' | 'durable' | 'persistent';

export interface OpenOptions {
  /** A word, or FileAccess.* bits. Default: read. */
  access?: Access | number;
  /** Default: open, which fails when there is no such file. */
  disposition?: Disposition;
  /** ShareAccess.* bits: what others may do meanwhile. Default: everything. */
  shareAccess?: number;
  /** A handle that survives its server. Default: on a continuously available share. */
  persistent?: boolean;
  /** A handle that survives its connection. Default: where persistent ones are not to be had. */
  durable?: boolean;
  /** How long the server is to keep the handle for a client that is gone; 0, the default, leaves it to the server. */
  reclaimTimeoutMs?: number;
  /** Each write is on stable storage when it is answered. A continuously available share does so in any case. */
  writeThrough?: boolean;
  deleteOnClose?: boolean;
  /** What it has to be. Default: a file. */
  kind?: 'file' | 'directory' | 'any';
  /** FileAttributes.* of a new file. */
  fileAttributes?: number;
  /** Further CreateOptions.* bits. */
  createOptions?: number;
  signal?: AbortSignal;
}

/** One CREATE as it is sent first, replayed and used to reclaim the handle: the same fields each time. */
export interface CreateParameters {
  path: string;
  desiredAccess: number;
  shareAccess: number;
  createDisposition: number;
  createOptions: number;
  fileAttributes: number;
  createGuid: Buffer;
  /** What is asked for. */
  durability: Durability;
  reclaimTimeoutMs: number;
}

const ACCESS: Record<Access, number> = {
  read: FileAccess.FILE_GENERIC_READ,
  write: FileAccess.FILE_GENERIC_WRITE | FileAccess.READ_ATTRIBUTES,
  readwrite: FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE,
};

const DISPOSITION: Record<Disposition, number> = {
  supersede: CreateDisposition.SUPERSEDE,
  open: CreateDisposition.OPEN,
  create: CreateDisposition.CREATE,
  openIf: CreateDisposition.OPEN_IF,
  overwrite: CreateDisposition.OVERWRITE,
  overwriteIf: CreateDisposition.OVERWRITE_IF,
};

const KIND = { file: CreateOptions.NON_DIRECTORY_FILE, directory: CreateOptions.DIRECTORY_FILE, any: 0 } as const;

export const SHARE_ALL = ShareAccess.READ | ShareAccess.WRITE | ShareAccess.DELETE;

export function createParameters(path: string, options: OpenOptions, continuouslyAvailable: boolean): CreateParameters {
  const access = options.access ?? 'read';
  const word = typeof access === 'number' ? access : ACCESS[access];
  const deletes = options.deleteOnClose === true;
  return {
    path: wirePath(path),
    desiredAccess: (word | (deletes ? FileAccess.DELETE : 0)) >>> 0,
    shareAccess: options.shareAccess ?? SHARE_ALL,
    createDisposition: DISPOSITION[options.disposition ?? 'open'],
    createOptions:
      (options.createOptions ?? 0) |
      KIND[options.kind ?? 'file'] |
      (options.writeThrough ? CreateOptions.WRITE_THROUGH : 0) |
      (deletes ? CreateOptions.DELETE_ON_CLOSE : 0),
    fileAttributes: options.fileAttributes ?? 0,
    createGuid: randomBytes(16),
    durability: wantedDurability(options, continuouslyAvailable),
    reclaimTimeoutMs: options.reclaimTimeoutMs ?? 0,
  };
}

function wantedDurability(options: OpenOptions, continuouslyAvailable: boolean): Durability {
  if (options.persistent ?? continuouslyAvailable) return 'persistent';
  return (options.durable ?? true) ? 'durable' : 'none';
}

/** The CREATE that opens, and with the replay flag of the header replays, an open (MS-SMB2 3.2.4.3). */
export function openingRequest(parameters: CreateParameters): CreateRequest {
  const { durability, createGuid, reclaimTimeoutMs } = parameters;
  const flags = durability === 'persistent' ? DurableFlags.PERSISTENT : 0;
  const data = encodeDH2QRequest({ timeoutMs: reclaimTimeoutMs, flags, createGuid });
  const contexts = durability === 'none' ? [] : [{ name: CreateContextName.DURABLE_HANDLE_REQUEST_V2, data }];
  // A handle that is durable only lasts as long as its batch oplock does (MS-SMB2 3.3.5.9.10).
  return request(parameters, durability === 'durable' ? OplockLevel.BATCH : OplockLevel.NONE, contexts);
}

/** The CREATE that gets an open back on another connection (MS-SMB2 3.2.4.4). `fileId`: zeros when its answer never came. */
export function reclaimingRequest(
  parameters: CreateParameters,
  held: { fileId: FileId; durability: Durability; oplockLevel: number },
): CreateRequest {
  const flags = held.durability === 'persistent' ? DurableFlags.PERSISTENT : 0;
  const data = encodeDH2C({ fileId: held.fileId, createGuid: parameters.createGuid, flags });
  return request(parameters, held.oplockLevel, [{ name: CreateContextName.DURABLE_HANDLE_RECONNECT_V2, data }]);
}

function request(parameters: CreateParameters, oplockLevel: number, createContexts: CreateContext[]): CreateRequest {
  return {
    requestedOplockLevel: oplockLevel,
    impersonationLevel: ImpersonationLevel.IMPERSONATION,
    desiredAccess: parameters.desiredAccess,
    fileAttributes: parameters.fileAttributes,
    shareAccess: parameters.shareAccess,
    createDisposition: parameters.createDisposition,
    createOptions: parameters.createOptions,
    name: parameters.path,
    createContexts,
  };
}
