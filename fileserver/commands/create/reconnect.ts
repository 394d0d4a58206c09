import { reasonOf } from '../../../common/errors.ts';
import { type OpenRecord, type OpenReply, Outcome } from '../../../proto/generated/handles.ts';
import { CreateAction, CreateOptions, DurableFlags } from '../../../smb/constants.ts';
import { Status } from '../../../smb/status.ts';
import { statusOfOutcome } from '../../handles.ts';
import { diskPathOf, type FoundBase, findRenamed, openForAccess } from '../../opens/adoption.ts';
import { decodeAttachment } from '../../opens/attachment.ts';
import { replayKeyOf } from '../../opens/creations.ts';
import type { OpenFile, StreamBase } from '../../opens/open-file.ts';
import { pinOf, release } from '../../opens/pins.ts';
import { statOfOpen } from '../../opens/stat.ts';
import { type Reply, type Request, statusReply } from '../../session/request.ts';
import { factsOf } from '../../volume/facts.ts';
import type { Folder } from '../../volume/folder.ts';
import { foldedName, parseWirePath, streamPath } from '../../volume/names.ts';
import { Errno, PosixError } from '../../volume/posix.ts';
import { answerCreate } from './answer.ts';
import { userOf } from './ask.ts';
import type { Wishes } from './contexts.ts';

const NOTHING = Buffer.alloc(0);

/** What a client must know of its open to get it back. */
export interface Claim {
  openId: bigint;
  /** Empty: of version 1, which has none. */
  createGuid: Buffer;
  persistent: boolean;
  /** The name that it is asked for by, on the wire; undefined: by a replay of the CREATE that made it. */
  name: string | undefined;
}

/** What a CREATE with DHnC or DH2C (MS-SMB2 3.3.5.9.7, 3.3.5.9.12) claims; undefined: it asks for a new open. */
export function claimOf({ reconnectV1, reconnect }: Wishes, name: string): Claim | undefined {
  if (reconnectV1) return { openId: reconnectV1.persistent, createGuid: NOTHING, persistent: false, name };
  if (!reconnect) return undefined;
  return {
    openId: reconnect.fileId.persistent,
    createGuid: reconnect.createGuid,
    persistent: (reconnect.flags & DurableFlags.PERSISTENT) !== 0,
    name,
  };
}

/** Brings the open here, if it is the client's and nobody has it. */
export async function reclaim(request: Request, folder: Folder, wishes: Wishes, claim: Claim): Promise<Reply> {
  const { handles, opens } = request.services;
  if (await isConnected(opens.byId(claim.openId))) return statusReply(Status.OBJECT_NAME_NOT_FOUND);
  const { outcome, value } = await handles.reclaim(
    {
      openId: claim.openId,
      createGuid: claim.createGuid,
      clientGuid: request.connection.clientGuid,
      user: userOf(request),
      share: request.tree.share.name,
      persistent: claim.persistent,
      leaseKey: wishes.lease?.leaseKey ?? NOTHING,
      sessionId: request.session.id,
    },
    request,
  );
  if (outcome !== Outcome.GRANTED || !value?.record) return statusReply(statusOfOutcome(outcome));
  const { record } = value;
  // It stays its client's, who may find it elsewhere or later.
  const giveBack = () => handles.disconnect({ fileId: record.fileId, openId: record.openId });
  const refusal = leaseRefusal(record, wishes, claim);
  if (refusal !== Status.SUCCESS) {
    await giveBack();
    return statusReply(refusal);
  }
  let open: OpenFile;
  try {
    open = await adopt(request, folder, value, record, replayKeyOfClaim(request, claim));
  } catch (error) {
    request.services.log.warn(
      { openId: String(record.openId), path: record.path, reason: reasonOf(error) },
      'an open came here whose file cannot be opened',
    );
    await giveBack();
    return statusReply(Status.OBJECT_NAME_NOT_FOUND);
  }
  if (open.isDirectory && open.record.lease) {
    const { directoryLeases } = request.services.opens;
    await directoryLeases.hold(open, request.tree.share);
    await directoryLeases.forget(open);
  }
  // A replay is told what the first CREATE did, a reconnect that it found the file.
  const createAction = claim.name === undefined ? open.attachment.createAction : CreateAction.OPENED;
  return answer(request, open, wishes, createAction);
}

/** Open.Lease is of the version and the file that the client names (3.3.5.9.7, 3.3.5.9.12). SUCCESS or the status to refuse with. */
function leaseRefusal(record: OpenRecord, { lease }: Wishes, { name }: Claim): number {
  if (!record.lease) return Status.SUCCESS;
  if (lease?.version !== record.lease.version) return Status.OBJECT_NAME_NOT_FOUND;
  return name === undefined || isNameOf(record, name) ? Status.SUCCESS : Status.INVALID_PARAMETER;
}

/** Who replays its CREATE has not seen an answer yet, and may replay it again. */
function replayKeyOfClaim({ connection }: Request, { name, createGuid }: Claim): string | undefined {
  return name === undefined ? replayKeyOf(createGuid, connection.clientGuid) : undefined;
}

/** Open.Lease.FileName is what the client asks for (3.3.5.9.7, 3.3.5.9.12). */
function isNameOf(record: OpenRecord, wireName: string): boolean {
  const path = parseWirePath(wireName);
  if (typeof path === 'string') return false;
  const file = path.names.join('/');
  const diskPath = path.stream === undefined ? file : streamPath(file === '' ? '.' : file, path.stream);
  return foldedName(diskPath) === foldedName(record.path);
}

/** Open.Session is not NULL (3.3.5.9.12): the client has its open, on a connection that lives. Waits for one that is ending. */
async function isConnected(open: OpenFile | undefined): Promise<boolean> {
  const session = open?.session;
  if (session === undefined) return false;
  if (session.state !== 'Ended' && session.connection.isOpen) return true;
  await session.ending;
  return false;
}

/** The open becomes this process': with the descriptor that it has here, one opened ahead, or by its name. */
async function adopt(
  request: Request,
  folder: Folder,
  { fileState, renamingTo }: OpenReply,
  record: OpenRecord,
  replayKey: string | undefined,
): Promise<OpenFile> {
  const { opens } = request.services;
  const { session, tree } = request;
  const here = opens.byId(record.openId);
  if (here && !here.closing && here.fd >= 0) {
    opens.reconnect(here, record, session, tree, fileState);
    request.opened();
    if (replayKey === undefined) opens.creations.remove(here);
    return here;
  }
  const warm = opens.warm.take(record, folder);
  const { path } = record;
  const found =
    warm === undefined ? await findRenamed(folder, record, renamingTo) : { fd: warm, base: undefined, path };
  const base = found.base && (await pinAgain(request, folder, record, { fd: found.fd, base: found.base }));
  // As it was asked for where it was opened first.
  const { createOptions } = decodeAttachment(record.attachment);
  const writeThrough = tree.share.continuouslyAvailable || (createOptions & CreateOptions.WRITE_THROUGH) !== 0;
  const want = { access: record.access, directory: record.isDirectory, writeThrough };
  let fd: number;
  try {
    fd = await openForAccess(folder, found.fd, want);
  } catch (error) {
    if (base) await letGo(request, folder, base);
    throw error;
  }
  const { channelSequence } = request;
  record.path = found.path;
  const open = opens.add({
    record,
    folder,
    fd,
    writesThrough: writeThrough,
    base,
    session,
    tree,
    channelSequence,
    replayKey,
    fileState,
  });
  request.opened();
  if (found.path !== path) await endRename(request, open);
  return open;
}

/** The server that renamed the file was lost before it could say so. Its client asks for the rename again, and finds it done. */
async function endRename(request: Request, open: OpenFile): Promise<void> {
  const { fileId, openId, path } = open.record;
  open.file.path = diskPathOf(path);
  await request.services.handles.endRename({ fileId, openId, done: true, to: path });
}

/** The file of a stream's open is held as before. Throws PosixError, and closes what was found then. */
async function pinAgain(
  request: Request,
  folder: Folder,
  record: OpenRecord,
  found: { fd: number; base: FoundBase },
): Promise<StreamBase> {
  const { fd, base } = found;
  const asked = { record: pinOf(record, base), truncates: false, drop: undefined };
  const { outcome, value } = await request.services.handles.open(asked, request);
  const stat = await folder.posix.stat(fd);
  if (outcome === Outcome.GRANTED && value?.record && typeof stat !== 'number') {
    return { fd: base.fd, pin: value.record, writeTimeAtOpen: stat.writeTime };
  }
  await folder.posix.close(base.fd);
  await folder.posix.close(fd);
  throw new PosixError(Errno.ENOENT, 'the file of a stream is being removed');
}

async function letGo(request: Request, folder: Folder, { fd, pin }: StreamBase): Promise<void> {
  await folder.posix.close(fd);
  await release(request.services.handles, folder, pin, request.tree.share.continuouslyAvailable);
}

async function answer(request: Request, open: OpenFile, wishes: Wishes, createAction: number): Promise<Reply> {
  const stat = await statOfOpen(open);
  const facts = factsOf(stat, await open.folder.attributes(open.metadataFd));
  const maximalAccess = request.tree.maximalAccess;
  return answerCreate(request, open, wishes, { facts, inode: stat.inode, maximalAccess, createAction });
}
