// TREE_DISCONNECT (MS-SMB2 3.3.5.8).
import { decodeTreeDisconnectRequest, encodeTreeDisconnectResponse } from '../../smb/wire/tree-disconnect.ts';
import { type Reply, type Request, reply } from '../session/request.ts';

export async function treeDisconnect(request: Request): Promise<Reply> {
  decodeTreeDisconnectRequest(request.message);
  const { session, tree, services } = request;
  if (session.trees.delete(tree.id)) services.accounts.addTrees(-1, session.usage);
  if (tree.share.isPipe) services.pipes.endTree(tree);
  else await services.opens.endTree(tree);
  return reply(encodeTreeDisconnectResponse());
}
