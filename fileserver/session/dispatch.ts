// What is checked before a command's handler sees a request (MS-SMB2 3.3.5.2).
import { Command, Dialect } from '../../smb/constants.ts';
import { isError, Status } from '../../smb/status.ts';
import { handlers } from '../commands/index.ts';
import type { Call } from './call.ts';
import { type Reply, statusReply } from './request.ts';

/** Commands that are about a tree connect. */
export const needsTree: ReadonlySet<number> = new Set<number>([
  Command.TREE_DISCONNECT,
  Command.CREATE,
  Command.CLOSE,
  Command.FLUSH,
  Command.READ,
  Command.WRITE,
  Command.LOCK,
  Command.IOCTL,
  Command.QUERY_DIRECTORY,
  Command.CHANGE_NOTIFY,
  Command.QUERY_INFO,
  Command.SET_INFO,
  Command.OPLOCK_BREAK,
]);

/** Commands that are about an open, which a related request takes from the one before it (3.3.5.2.7.2). */
const needsFileId = new Set<number>([
  Command.CLOSE,
  Command.FLUSH,
  Command.READ,
  Command.WRITE,
  Command.LOCK,
  Command.IOCTL,
  Command.QUERY_DIRECTORY,
  Command.CHANGE_NOTIFY,
  Command.QUERY_INFO,
  Command.SET_INFO,
]);

/** What is still done for a session that has expired (3.3.5.2.9): ends of things, and signs of life. */
const whenExpired = new Set<number>([Command.LOGOFF, Command.CLOSE, Command.LOCK, Command.ECHO]);

/** On IPC$ these go the usual way; everything else is about a pipe. */
const notOfPipes = new Set<number>([Command.TREE_DISCONNECT, Command.IOCTL]);

/** Checks session, signature, encryption and tree connect, and has the command done. */
export function dispatch(call: Call): Reply | Promise<Reply> {
  const { command } = call.header;
  const isOnTree = needsTree.has(command);
  const inherited = call.chain ? fromCompound(call) : undefined;
  // Looked at in any case: the answer is signed by the session, whatever it says.
  const ofSession = checkSession(call);
  const refusal =
    inherited ??
    ofSession ??
    (isOnTree ? checkTree(call) : checkUntreed(call)) ??
    (call.chain ? checkOpen(call) : undefined);
  if (refusal !== undefined) return statusReply(refusal);
  if (isOnTree && call.tree.share.isPipe && !notOfPipes.has(command)) {
    return call.services.pipes.handle(call);
  }
  const handler = handlers[command];
  return handler ? handler(call) : statusReply(Status.INVALID_PARAMETER);
}

/** A related request takes session and tree from the one before it (3.3.5.2.7.2). */
function fromCompound(call: Call): number | undefined {
  const { chain } = call;
  if (!chain) return undefined;
  if (!call.isRelated) {
    chain.fileId = undefined;
    chain.createStatus = 0;
    return undefined;
  }
  if (chain.index === 0) return Status.INVALID_PARAMETER;
  // What comes after a session or tree connect that is not there, or was not made, has none.
  const isAdrift = chain.isAdrift || (chain.command === Command.TREE_CONNECT && isError(chain.status));
  call.sessionId = chain.sessionId;
  call.treeId = chain.treeId;
  return isAdrift ? Status.INVALID_PARAMETER : undefined;
}

/**
 * It also takes the open, and fails with the CREATE that did not make it; any other failure before it is no reason not to try, as Windows
 * does.
 */
function checkOpen({ chain, header, isRelated }: Call): number | undefined {
  if (!chain || !isRelated || !needsFileId.has(header.command)) return undefined;
  if (chain.createStatus !== 0) return chain.createStatus;
  return chain.fileId ? undefined : Status.INVALID_HANDLE;
}

/** 3.3.5.2.4 and 3.3.5.2.9. */
function checkSession(call: Call): number | undefined {
  const { header, connection } = call;
  // ECHO may be about the connection alone.
  if (header.command === Command.ECHO && call.sessionId === 0n) return undefined;
  const channel = connection.channels.get(call.sessionId);
  if (!channel || channel.session.state === 'Ended') return Status.USER_SESSION_DELETED;
  const { session } = channel;
  if (session.state === 'InProgress') return Status.ACCESS_DENIED;
  call.enter(channel);
  if (call.sealedBy) {
    if (call.sealedBy !== session) return Status.ACCESS_DENIED;
  } else if (call.isSigned) {
    if (!channel.signer?.verify(call.message) || session.encryptData) return Status.ACCESS_DENIED;
  } else if (session.signingRequired || session.encryptData) {
    return Status.ACCESS_DENIED;
  }
  return session.state === 'Expired' && !whenExpired.has(header.command) ? Status.NETWORK_SESSION_EXPIRED : undefined;
}

/** 3.3.5.2.11 */
function checkTree(call: Call): number | undefined {
  const { session } = call;
  const tree = session.trees.get(call.treeId);
  if (!tree) return Status.NETWORK_NAME_DELETED;
  call.tree = tree;
  if (tree.encryptData && !call.sealedBy) return Status.ACCESS_DENIED;
  return call.header.command === Command.CREATE && !tree.share.isPipe ? checkCreate(call) : undefined;
}

function checkCreate({ session, services, connection }: Call): number | undefined {
  if (session.isAnonymous) return Status.ACCESS_DENIED;
  const { accounts } = connection.server;
  return accounts.hasRoomForOpen(session.usage, services.opens.size) ? undefined : Status.INSUFFICIENT_RESOURCES;
}

/** 3.3.5.7: in 3.1.1 the first request of a session after its setup proves that nobody has changed what was negotiated. */
function checkUntreed(call: Call): number | undefined {
  const { header, connection } = call;
  if (header.command !== Command.TREE_CONNECT || connection.dialect !== Dialect.SMB_3_1_1) return undefined;
  if (call.isSigned || call.sealedBy || call.session.isAnonymous) return undefined;
  connection.close('TREE_CONNECT that is neither signed nor encrypted');
  return Status.ACCESS_DENIED;
}
