import { reasonOf } from '../../../common/errors.ts';
import { Durability, type OpenRecord, Outcome } from '../../../proto/generated/handles.ts';
import { DurableFlags } from '../../../smb/constants.ts';
import { Status } from '../../../smb/status.ts';
import type { DH2C } from '../../../smb/wire/create-contexts.ts';
import { statusOfOutcome } from '../../handles.ts';
import { findRecorded, openForAccess } from '../../opens/adoption.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Reply, type Request, statusReply } from '../../session/request.ts';
import { factsOf } from '../../volume/facts.ts';
import type { Folder } from '../../volume/folder.ts';
import { statOf } from '../../volume/volume.ts';
import { answerCreate } from './answer.ts';
import { type CreateAsk, userOf } from './ask.ts';
import type { Wishes } from './contexts.ts';

const NO_LEASE = Buffer.alloc(0);

/** What a client must know of its open to get it back. */
interface Claim {
  openId: bigint;
  createGuid: Buffer;
  persistent: boolean;
}

/** CREATE with DH2C (MS-SMB2 3.3.5.9.12): the client is back for its open, wherever that was. */
export function reconnect(request: Request, folder: Folder, wishes: Wishes, context: DH2C): Promise<Reply> {
  return reclaim(request, folder, wishes, {
    openId: context.fileId.persistent,
    createGuid: context.createGuid,
    persistent: (context.flags & DurableFlags.PERSISTENT) !== 0,
  });
}

async function reclaim(request: Request, folder: Folder, wishes: Wishes, claim: Claim): Promise<Reply> {
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
      leaseKey: wishes.lease?.leaseKey ?? NO_LEASE,
      sessionId: request.session.id,
    },
    request,
  );
  if (outcome !== Outcome.GRANTED || !value?.record) return statusReply(statusOfOutcome(outcome));
  const { record } = value;
  let open: OpenFile;
  try {
    open = await adopt(request, folder, record, value.fileState);
  } catch (error) {
    request.services.log.warn(
      { openId: String(record.openId), path: record.path, reason: reasonOf(error) },
      'an open came here whose file cannot be opened',
    );
    // It stays its client's, who may find it elsewhere or later.
    await handles.disconnect({ fileId: record.fileId, openId: record.openId });
    return statusReply(Status.OBJECT_NAME_NOT_FOUND);
  }
  return answer(request, open, wishes);
}

/** Open.Session is not NULL (3.3.5.9.12): the client has its open, on a connection that lives. Waits for one that is ending. */
async function isConnected(open: OpenFile | undefined): Promise<boolean> {
  const session = open?.session;
  if (session === undefined) return false;
  if (session.state === 'Valid' && session.connection.isOpen) return true;
  await session.ending;
  return false;
}

/** The open becomes this process': with the descriptor that it has here, one opened ahead, or by its name. */
async function adopt(
  request: Request,
  folder: Folder,
  record: OpenRecord,
  fileState: Parameters<typeof request.services.opens.reconnect>[4],
): Promise<OpenFile> {
  const { opens } = request.services;
  const { session, tree } = request;
  const here = opens.byId(record.openId);
  if (here && !here.closing && here.fd >= 0) {
    opens.reconnect(here, record, session, tree, fileState);
    return here;
  }
  const pathFd = opens.warm.take(record, folder) ?? (await findRecorded(folder, record)).fd;
  const writeThrough = tree.share.continuouslyAvailable;
  const fd = await openForAccess(folder, pathFd, {
    access: record.access,
    directory: record.isDirectory,
    writeThrough,
  });
  const { channelSequence } = request;
  return opens.add({ record, folder, fd, writesThrough: writeThrough, session, tree, channelSequence, fileState });
}

async function answer(request: Request, open: OpenFile, wishes: Wishes): Promise<Reply> {
  const stat = await statOf(open.folder.posix, open.fd);
  const facts = factsOf(stat, await open.folder.attributes(open.fd));
  const maximalAccess = request.tree.maximalAccess;
  return answerCreate(request, open, wishes, { facts, inode: stat.inode, maximalAccess });
}

/**
 * A CREATE that says that it is a replay (MS-SMB2 3.3.5.9.10): the answer of the open that the first one made, or undefined if it
 * never arrived.
 */
export async function replayed(ask: CreateAsk, createGuid: Buffer): Promise<Reply | undefined> {
  const { request, folder, wishes } = ask;
  const { services, connection, session, tree } = request;
  const user = userOf(request);
  const { outcome, value } = await services.handles.findCreate(
    { createGuid, clientGuid: connection.clientGuid, user },
    request,
  );
  if (outcome === Outcome.NOT_FOUND) return undefined;
  if (outcome !== Outcome.GRANTED || !value?.record) return statusReply(statusOfOutcome(outcome));
  const { record } = value;
  const here = services.opens.byId(record.openId);
  if (here && here.session === session && here.tree === tree && !here.closing) return answer(request, here, wishes);
  return reclaim(request, folder, wishes, {
    openId: record.openId,
    createGuid,
    persistent: record.durability === Durability.PERSISTENT,
  });
}
