// TREE_CONNECT (MS-SMB2 3.3.5.7).

import type { Permission } from '../../common/config.ts';
import { reasonOf } from '../../common/errors.ts';
import { Dialect, ShareCapabilities, ShareFlags, ShareType, TreeConnectFlags } from '../../smb/constants.ts';
import { FileAccess } from '../../smb/security/access-mask.ts';
import { Status } from '../../smb/status.ts';
import { decodeTreeConnectRequest, encodeTreeConnectResponse } from '../../smb/wire/tree-connect.ts';
import { MAX_TREES } from '../session/limits.ts';
import { type Reply, type Request, reply, statusReply } from '../session/request.ts';
import { TreeConnect } from '../session/tree-connect.ts';
import type { Share } from '../shares.ts';

/** What a permission of the configuration allows; the file's own security descriptor may allow less. */
const ACCESS: Record<Permission, number> = {
  Full: FileAccess.all,
  // All but changing the security descriptor (WRITE_DAC, WRITE_OWNER).
  Change: FileAccess.all & ~0xc_0000,
  Read: FileAccess.read | FileAccess.execute,
};

export async function treeConnect(request: Request): Promise<Reply> {
  const { flags, path } = decodeTreeConnectRequest(request.message);
  const { session, connection, services } = request;
  if ((flags & TreeConnectFlags.EXTENSION_PRESENT) !== 0 && connection.dialect === Dialect.SMB_3_1_1) {
    // Identity remoting: none is offered here.
    return statusReply(Status.NOT_SUPPORTED);
  }
  const share = services.shares.find(shareNameOf(path));
  if (!share) return statusReply(Status.BAD_NETWORK_NAME);
  if (session.isAnonymous && !share.isPipe) return statusReply(Status.ACCESS_DENIED);
  const permission = services.shares.permissionOf(share, session.user?.name ?? '');
  if (!permission) return statusReply(Status.ACCESS_DENIED);
  const encryptData = share.config?.encryption === 'Required';
  if (encryptData && !session.sealer) return statusReply(Status.ACCESS_DENIED);
  const { accounts } = services;
  if (session.trees.size >= MAX_TREES || !accounts.hasRoomForTree(session.usage)) {
    return statusReply(Status.INSUFFICIENT_RESOURCES);
  }
  if (!share.isPipe) {
    try {
      await services.opens.folderOf(share);
    } catch (error) {
      services.log.error({ share: share.name, reason: reasonOf(error) }, 'the share cannot be served');
      return statusReply(Status.BAD_NETWORK_NAME);
    }
  }
  const tree = new TreeConnect(session.nextTreeId(), session, share, ACCESS[permission], encryptData);
  // The session may have ended while the folder was opened, and then nobody takes the tree away again.
  if (session.state === 'Ended') return statusReply(Status.USER_SESSION_DELETED);
  session.trees.set(tree.id, tree);
  accounts.addTrees(1, session.usage);
  request.tree = tree;
  return reply(
    encodeTreeConnectResponse({
      shareType: share.isPipe ? ShareType.PIPE : ShareType.DISK,
      shareFlags: shareFlagsOf(share, connection.dialect),
      capabilities: capabilitiesOf(share, connection.dialect),
      maximalAccess: tree.maximalAccess,
    }),
  );
}

/** The last component of \\server\share. */
function shareNameOf(path: string): string {
  return path.slice(path.lastIndexOf('\\') + 1);
}

function shareFlagsOf(share: Share, dialect: number): number {
  if (share.isPipe) return ShareFlags.NO_CACHING;
  const isEncrypted = share.config?.encryption === 'Required' && dialect >= Dialect.SMB_3_0;
  return (
    ShareFlags.MANUAL_CACHING |
    (isEncrypted ? ShareFlags.ENCRYPT_DATA : 0) |
    (share.accessBasedEnumeration ? ShareFlags.ACCESS_BASED_DIRECTORY_ENUM : 0)
  );
}

/** What is true of the share (MS-SMB2 2.2.10): the same name is served by several servers, and its handles outlive each. */
function capabilitiesOf(share: Share, dialect: number): number {
  if (share.isPipe || dialect < Dialect.SMB_3_0) return 0;
  let capabilities: number = ShareCapabilities.CLUSTER;
  if (share.continuouslyAvailable) capabilities |= ShareCapabilities.CONTINUOUS_AVAILABILITY;
  if (share.scaleOut) capabilities |= ShareCapabilities.SCALEOUT;
  return capabilities;
}
