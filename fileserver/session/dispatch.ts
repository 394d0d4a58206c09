// What is checked before a command's handler sees a request (MS-SMB2 3.3.5.2).
import { Command, Flags } from '../../smb/constants.ts';
import { isError, Status } from '../../smb/status.ts';
import { handlers } from '../commands/index.ts';
import type { Call } from './call.ts';
import { type Reply, statusReply } from './request.ts';

/** Commands that are about a tree connect. */
const needsTree = new Set<number>([
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

/** On IPC$ these go the usual way; everything else is about a pipe. */
const notOfPipes = new Set<number>([Command.TREE_DISCONNECT, Command.IOCTL]);

/** Checks session, signature, encryption and tree connect, and has the command done. */
export function dispatch(call: Call): Reply | Promise<Reply> {
  const { command } = call.header;
  const inherited = fromCompound(call);
  // Looked at in any case: the answer is signed by the session, whatever it says.
  const ofSession = checkSession(call);
  const refusal = inherited ?? ofSession ?? (needsTree.has(command) ? checkTree(call) : undefined);
  if (refusal !== undefined) return statusReply(refusal);
  if (needsTree.has(command) && call.tree.share.isPipe && !notOfPipes.has(command)) {
    return call.services.pipes.handle(call);
  }
  const handler = handlers[command];
  return handler ? handler(call) : statusReply(Status.INVALID_PARAMETER);
}

/** A related request takes session, tree and open from the one before it, and fails with it (3.3.5.2.7.2). */
function fromCompound(call: Call): number | undefined {
  const { chain, header } = call;
  if (!chain || !call.isRelated) return undefined;
  if (chain.index === 0) return Status.INVALID_PARAMETER;
  call.sessionId = chain.sessionId;
  call.treeId = chain.treeId;
  if (!isError(chain.status)) {
    return needsFileId.has(header.command) && !chain.fileId ? Status.INVALID_HANDLE : undefined;
  }
  if (needsFileId.has(header.command)) {
    const hadFileId = chain.command === Command.CREATE || needsFileId.has(chain.command);
    return hadFileId ? chain.status : Status.INVALID_HANDLE;
  }
  // What comes after a session or tree connect that was not made has none.
  return chain.command === Command.TREE_CONNECT || chain.command === Command.SESSION_SETUP
    ? Status.INVALID_PARAMETER
    : undefined;
}

/** 3.3.5.2.4 and 3.3.5.2.9. */
function checkSession(call: Call): number | undefined {
  const { header, connection } = call;
  // ECHO may be about the connection alone.
  if (header.command === Command.ECHO && call.sessionId === 0n) return undefined;
  const session = connection.sessions.get(call.sessionId);
  if (!session || session.state === 'Ended') return Status.USER_SESSION_DELETED;
  if (session.state === 'InProgress') return Status.ACCESS_DENIED;
  call.session = session;
  if (call.sealedBy) return call.sealedBy === session ? undefined : Status.ACCESS_DENIED;
  if ((header.flags & Flags.SIGNED) !== 0) {
    if (!session.signer?.verify(call.message)) return Status.ACCESS_DENIED;
  } else if (session.signingRequired) {
    return Status.ACCESS_DENIED;
  }
  return session.encryptData ? Status.ACCESS_DENIED : undefined;
}

/** 3.3.5.2.11 */
function checkTree(call: Call): number | undefined {
  const tree = call.session.trees.get(call.treeId);
  if (!tree) return Status.NETWORK_NAME_DELETED;
  call.tree = tree;
  return tree.encryptData && !call.sealedBy ? Status.ACCESS_DENIED : undefined;
}
