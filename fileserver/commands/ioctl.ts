// IOCTL (MS-SMB2 3.3.5.15).
import { isIPv4, isIPv6 } from 'node:net';
import { ALL_ONES_FILE_ID, Dialect, Fsctl, IoctlFlags } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { decodeIoctlRequest, type IoctlRequest } from '../../smb/wire/ioctl.ts';
import {
  decodeValidateNegotiateInfoRequest,
  encodeNetworkInterfaceInfo,
  encodeValidateNegotiateInfoResponse,
  VALIDATE_NEGOTIATE_INFO_RESPONSE_SIZE,
} from '../../smb/wire/ioctl-payloads.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { type Reply, type Request, statusReply } from '../session/request.ts';
import { getCompression, setCompression } from './ioctl/compression.ts';
import { copychunk, requestResumeKey } from './ioctl/copychunk.ts';
import { duplicateExtents } from './ioctl/duplicate-extents.ts';
import { ioctlReply } from './ioctl/reply.ts';
import { requestResiliency } from './ioctl/resiliency.ts';
import { enumerateSnapshots, objectId } from './ioctl/small.ts';
import { fileLevelTrim, queryAllocatedRanges, setSparse, setZeroData } from './ioctl/sparse.ts';
import { chooseDialect } from './negotiate.ts';
import { onVolume, openOf } from './open-of.ts';

/** Bits a second, where nothing is known of the interface: clients take it as a weight among several. */
const LINK_SPEED = 10_000_000_000n;

/** Controls that are about no open: they name none (3.3.5.15). */
const notOfOpens = new Set<number>([
  Fsctl.DFS_GET_REFERRALS,
  Fsctl.DFS_GET_REFERRALS_EX,
  Fsctl.QUERY_NETWORK_INTERFACE_INFO,
  Fsctl.VALIDATE_NEGOTIATE_INFO,
  Fsctl.PIPE_WAIT,
]);

const isNoFile = ({ persistent, volatile }: FileId): boolean =>
  persistent === ALL_ONES_FILE_ID.persistent && volatile === ALL_ONES_FILE_ID.volatile;

export const ioctl = onVolume((request: Request): Reply | Promise<Reply> => {
  const ioctl = decodeIoctlRequest(request.message);
  const { connection, services } = request;
  // 3.3.5.15: anything but an FSCTL.
  if (ioctl.flags !== IoctlFlags.IS_FSCTL) return statusReply(Status.NOT_SUPPORTED);
  const { maxTransactSize } = connection;
  if (ioctl.input.length > maxTransactSize || ioctl.maxOutputResponse > maxTransactSize) {
    return statusReply(Status.INVALID_PARAMETER);
  }
  const most = Math.max(ioctl.input.length + ioctl.output.length, ioctl.maxInputResponse + ioctl.maxOutputResponse);
  if (!request.paysFor(most)) return statusReply(Status.INVALID_PARAMETER);
  if (notOfOpens.has(ioctl.ctlCode) && !isNoFile(ioctl.fileId)) return statusReply(Status.INVALID_PARAMETER);
  switch (ioctl.ctlCode) {
    case Fsctl.VALIDATE_NEGOTIATE_INFO:
      return validateNegotiateInfo(request, ioctl);
    case Fsctl.QUERY_NETWORK_INTERFACE_INFO:
      return queryNetworkInterfaces(request, ioctl);
    case Fsctl.DFS_GET_REFERRALS:
    case Fsctl.DFS_GET_REFERRALS_EX:
      // No DFS namespace is served here: IsDfsCapable is false (3.3.5.15.2).
      return statusReply(Status.FS_DRIVER_REQUIRED);
    default:
      break;
  }
  if (request.tree.share.isPipe) return services.pipes.ioctl(request, ioctl);
  const open = openOf(request, ioctl.fileId);
  return open === undefined ? statusReply(Status.FILE_CLOSED) : onOpen(request, open, ioctl);
});

/** The controls that are about an open. */
function onOpen(request: Request, open: OpenFile, ioctl: IoctlRequest): Reply | Promise<Reply> {
  switch (ioctl.ctlCode) {
    case Fsctl.SRV_REQUEST_RESUME_KEY:
      return requestResumeKey(open, ioctl);
    case Fsctl.SRV_COPYCHUNK:
    case Fsctl.SRV_COPYCHUNK_WRITE:
      return copychunk(request, open, ioctl);
    case Fsctl.SET_SPARSE:
      return setSparse(request, open, ioctl);
    case Fsctl.SET_ZERO_DATA:
      return setZeroData(request, open, ioctl);
    case Fsctl.QUERY_ALLOCATED_RANGES:
      return queryAllocatedRanges(open, ioctl);
    case Fsctl.FILE_LEVEL_TRIM:
      return fileLevelTrim(request, open, ioctl);
    case Fsctl.DUPLICATE_EXTENTS_TO_FILE:
      return duplicateExtents(request, open, ioctl);
    case Fsctl.GET_COMPRESSION:
      return getCompression(open, ioctl);
    case Fsctl.SET_COMPRESSION:
      return setCompression(request, open, ioctl);
    case Fsctl.GET_OBJECT_ID:
    case Fsctl.CREATE_OR_GET_OBJECT_ID:
      return objectId(open, ioctl);
    case Fsctl.GET_REPARSE_POINT:
      // Symbolic links on the volume are followed: what is open is never one itself.
      return statusReply(Status.NOT_A_REPARSE_POINT);
    case Fsctl.SRV_ENUMERATE_SNAPSHOTS:
      return enumerateSnapshots(ioctl);
    case Fsctl.LMR_REQUEST_RESILIENCY:
      return requestResiliency(request, open, ioctl);
    default:
      // What the file system does not know (MS-FSA 2.1.5.10), or has switched off.
      return statusReply(Status.INVALID_DEVICE_REQUEST);
  }
}

/**
 * 3.3.5.15.12: repeats the choice of NEGOTIATE on what the client says it sent. What is not the same was changed on its way: the
 * connection ends without an answer, as it does where the answer has no room.
 */
function validateNegotiateInfo(request: Request, ioctl: IoctlRequest): Reply {
  const { connection, services } = request;
  if (connection.dialect >= Dialect.SMB_3_1_1) {
    connection.close('FSCTL_VALIDATE_NEGOTIATE_INFO in 3.1.1');
    return statusReply(Status.FILE_CLOSED);
  }
  if (ioctl.maxOutputResponse < VALIDATE_NEGOTIATE_INFO_RESPONSE_SIZE) {
    connection.close('FSCTL_VALIDATE_NEGOTIATE_INFO without room for its answer');
    return statusReply(Status.BUFFER_TOO_SMALL);
  }
  const said = decodeValidateNegotiateInfoRequest(ioctl.input);
  const choice = chooseDialect({ ...said, negotiateContexts: [] }, services.settings.config.security);
  const isSame =
    'negotiated' in choice &&
    choice.negotiated.dialect === connection.dialect &&
    isSameList(choice.negotiated.clientDialects, connection.clientDialects) &&
    said.clientGuid.equals(connection.clientGuid) &&
    said.securityMode === (connection.clientSecurityMode ?? said.securityMode) &&
    (connection.dialect < Dialect.SMB_3_0 || said.capabilities === connection.clientCapabilities);
  if (!isSame) {
    services.log.warn({ client: connection.remote }, 'NEGOTIATE was tampered with: closing the connection');
    connection.close('NEGOTIATE was tampered with');
    return statusReply(Status.ACCESS_DENIED);
  }
  const output = encodeValidateNegotiateInfoResponse({
    capabilities: connection.serverCapabilities,
    serverGuid: services.settings.serverGuid,
    securityMode: choice.negotiated.serverSecurityMode,
    dialect: connection.dialect,
  });
  return ioctlReply(ioctl, output);
}

/** Whoever came by a NEGOTIATE of SMB1 has listed none: what was chosen is all there is to compare. */
const isSameList = (said: Buffer | undefined, listed: Buffer | undefined): boolean =>
  listed === undefined || said?.equals(listed) === true;

/** 3.3.5.15.11: the address that the client came to; each server is reached by one. */
function queryNetworkInterfaces(request: Request, ioctl: IoctlRequest): Reply {
  if (request.connection.dialect < Dialect.SMB_3_0) return statusReply(Status.NOT_SUPPORTED);
  const address = request.connection.localAddress.replace(/^::ffff:/, '').replace(/%.*$/, '');
  if (!isIPv4(address) && !isIPv6(address)) return statusReply(Status.NOT_SUPPORTED);
  const output = encodeNetworkInterfaceInfo([{ ifIndex: 1, capability: 0, linkSpeed: LINK_SPEED, address }]);
  if (ioctl.maxOutputResponse < output.length) return statusReply(Status.BUFFER_TOO_SMALL);
  return ioctlReply(ioctl, output);
}
