import { type Creation, type OpenRecord, OpenState } from '../../../proto/generated/handles.ts';
import { CreateOptions, FileAttributes } from '../../../smb/constants.ts';
import { Status } from '../../../smb/status.ts';
import { recordPathOf } from '../../opens/adoption.ts';
import { emptyAttachment, encodeAttachment } from '../../opens/attachment.ts';
import { replayKeyOf } from '../../opens/creations.ts';
import { type Request, StatusError } from '../../session/request.ts';
import { settableAttributes } from '../../volume/attributes.ts';
import type { DiskPath } from '../../volume/folder.ts';
import { cachingFor } from './caching.ts';
import { durabilityFor } from './contexts.ts';
import type { CreateAsk } from './create-ask.ts';

const NOTHING = Buffer.alloc(0);

/** What the table is asked to keep of the open. Throws StatusError. */
export function recordFor(
  ask: CreateAsk,
  file: { fileId: Buffer; path: DiskPath; isDirectory: boolean; access: number; createAction: number },
): OpenRecord {
  const { request, wire, wishes } = ask;
  const { connection, session, tree, services } = request;
  const { handles } = services.settings.config;
  const { durability, timeoutMs } = durabilityFor(wire, wishes, {
    connection,
    continuouslyAvailable: tree.share.continuouslyAvailable,
    isDirectory: file.isDirectory,
    persistentTimeoutMs: handles.persistentTimeoutMs,
    durableTimeoutMs: handles.durableTimeoutMs,
  });
  return {
    openId: 0n,
    fileId: file.fileId,
    share: tree.share.name,
    path: recordPathOf(file.path),
    isDirectory: file.isDirectory,
    access: file.access,
    shareAccess: wire.shareAccess,
    durability,
    timeoutMs,
    createGuid: wishes.durable ? Buffer.from(wishes.durable.createGuid) : NOTHING,
    clientGuid: connection.clientGuid,
    appInstanceId: wishes.appInstanceId ? Buffer.from(wishes.appInstanceId) : NOTHING,
    appInstanceVersion: wishes.appInstanceVersion,
    user: userOf(request),
    sessionId: session.id,
    ...cachingFor(ask, file),
    deleteOnClose: (wire.createOptions & CreateOptions.DELETE_ON_CLOSE) !== 0,
    attachment: encodeAttachment({
      ...emptyAttachment,
      createOptions: wire.createOptions,
      createAction: file.createAction,
      mode: modeOf(wire.createOptions),
      position: 0,
      timeoutMs,
    }),
    owner: undefined,
    ownershipVersion: 0n,
    state: OpenState.ACTIVE,
    locks: [],
    lockSequences: NOTHING,
    deletePending: false,
  };
}

/** What a replay of this CREATE would be known by; undefined: it has no CreateGuid. */
export function replayKeyFor({ wishes, request }: CreateAsk): string | undefined {
  return wishes.durable && replayKeyOf(wishes.durable.createGuid, request.connection.clientGuid);
}

/** As what a name is reserved that this CREATE makes; undefined: it has no CreateGuid, and cannot be replayed. */
export function creationFor({ wishes, request }: CreateAsk): Creation | undefined {
  const { durable } = wishes;
  return (
    durable && {
      createGuid: Buffer.from(durable.createGuid),
      clientGuid: request.connection.clientGuid,
      user: userOf(request),
    }
  );
}

/** SID of the user; a session that handles requests has one. */
export function userOf(request: Request): string {
  const { user } = request.session;
  if (!user) throw new StatusError(Status.USER_SESSION_DELETED);
  return user.sid;
}

/** FileModeInformation that CREATE's options amount to (MS-FSCC 2.4.31). */
function modeOf(createOptions: number): number {
  return (
    createOptions &
    (CreateOptions.WRITE_THROUGH |
      CreateOptions.SEQUENTIAL_ONLY |
      CreateOptions.NO_INTERMEDIATE_BUFFERING |
      CreateOptions.SYNCHRONOUS_IO_ALERT |
      CreateOptions.SYNCHRONOUS_IO_NONALERT)
  );
}

/** Changes must be stable before they are answered (invariant 5 of the design; FILE_WRITE_THROUGH). */
export function writesThrough(ask: CreateAsk): boolean {
  return ask.request.tree.share.continuouslyAvailable || (ask.wire.createOptions & CreateOptions.WRITE_THROUGH) !== 0;
}

/** Attributes that a new or overwritten file gets (MS-FSA 2.1.5.1.1: what is asked for, and due for archiving). */
export function newAttributes(ask: CreateAsk, directory: boolean): number {
  const asked = ask.wire.fileAttributes & settableAttributes;
  return directory ? asked & ~FileAttributes.TEMPORARY : asked | FileAttributes.ARCHIVE;
}
