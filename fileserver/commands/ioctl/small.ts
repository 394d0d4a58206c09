// Controls that are answered from what is known of the open.
import { createHash } from 'node:crypto';
import { encodeObjectId } from '../../../smb/fscc/fsctl.ts';
import { Status } from '../../../smb/status.ts';
import type { IoctlRequest } from '../../../smb/wire/ioctl.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Reply, statusReply } from '../../session/request.ts';
import { ioctlReply, wholeReply } from './reply.ts';

/** MS-FSA 2.1.5.10.1: every file has an id from its birth on, worked out of what names it on the volume. */
export function objectId(open: OpenFile, ioctl: IoctlRequest): Reply {
  const id = createHash('sha256')
    .update(open.base?.pin.fileId ?? open.record.fileId)
    .digest()
    .subarray(0, 16);
  return wholeReply(ioctl, encodeObjectId(id));
}

/** The least that a client must leave room for (MS-SMB2 3.3.5.15.1). */
const SNAPSHOT_ARRAY_SIZE = 16;

/** MS-SMB2 2.2.32.2: no snapshots; the array holds nothing but its closing zero character. */
export function enumerateSnapshots(ioctl: IoctlRequest): Reply {
  if (ioctl.maxOutputResponse < SNAPSHOT_ARRAY_SIZE) return statusReply(Status.INVALID_PARAMETER);
  const output = Buffer.alloc(SNAPSHOT_ARRAY_SIZE);
  output.writeUInt32LE(2, 8);
  return ioctlReply(ioctl, output);
}
