// IOCTL (MS-SMB2 3.3.5.15).
import { isIPv4, isIPv6 } from 'node:net';
import { Dialect, Fsctl, IoctlFlags } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { decodeIoctlRequest, encodeIoctlResponse, type IoctlRequest } from '../../smb/wire/ioctl.ts';
import {
  decodeValidateNegotiateInfoRequest,
  encodeNetworkInterfaceInfo,
  encodeValidateNegotiateInfoResponse,
} from '../../smb/wire/ioctl-payloads.ts';
import { type Reply, type Request, reply, statusReply } from '../session/request.ts';
import { chooseDialect } from './negotiate.ts';

/** Bits a second, where nothing is known of the interface: clients take it as a weight among several. */
const LINK_SPEED = 10_000_000_000n;

export function ioctl(request: Request): Reply | Promise<Reply> {
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
  switch (ioctl.ctlCode) {
    case Fsctl.VALIDATE_NEGOTIATE_INFO:
      return validateNegotiateInfo(request, ioctl);
    case Fsctl.QUERY_NETWORK_INTERFACE_INFO:
      return queryNetworkInterfaces(request, ioctl);
    case Fsctl.DFS_GET_REFERRALS:
    case Fsctl.DFS_GET_REFERRALS_EX:
      // No DFS namespace is served here (3.3.5.15.2).
      return statusReply(Status.NOT_FOUND);
    default:
      break;
  }
  if (request.tree.share.isPipe) return services.pipes.ioctl(request, ioctl);
  return statusReply(hasOpen(request, ioctl) ? refusalOf(ioctl.ctlCode) : Status.FILE_CLOSED);
}

function hasOpen(request: Request, { fileId }: IoctlRequest): boolean {
  return request.services.opens.find(request.fileIdOf(fileId), request.tree) !== undefined;
}

/** What Windows answers for controls that the file system does not know, and for those that it has switched off. */
function refusalOf(ctlCode: number): number {
  switch (ctlCode) {
    case Fsctl.LMR_REQUEST_RESILIENCY:
    case Fsctl.SRV_COPYCHUNK:
    case Fsctl.SRV_COPYCHUNK_WRITE:
    case Fsctl.SRV_REQUEST_RESUME_KEY:
      return Status.NOT_SUPPORTED;
    default:
      return Status.INVALID_DEVICE_REQUEST;
  }
}

/**
 * 3.3.5.15.12: repeats the choice of NEGOTIATE on what the client says it sent. What is not the same was changed on its way: the
 * connection ends without an answer.
 */
function validateNegotiateInfo(request: Request, ioctl: IoctlRequest): Reply {
  const { connection, services } = request;
  if (connection.dialect >= Dialect.SMB_3_1_1) {
    connection.close('FSCTL_VALIDATE_NEGOTIATE_INFO in 3.1.1');
    return statusReply(Status.FILE_CLOSED);
  }
  const said = decodeValidateNegotiateInfoRequest(ioctl.input);
  const choice = chooseDialect({ ...said, negotiateContexts: [] }, services.settings.config.security);
  const isSame =
    'negotiated' in choice &&
    choice.negotiated.dialect === connection.dialect &&
    said.clientGuid.equals(connection.clientGuid) &&
    said.securityMode === connection.clientSecurityMode &&
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
  if (ioctl.maxOutputResponse < output.length) return statusReply(Status.BUFFER_TOO_SMALL);
  return ioctlReply(ioctl, output);
}

/** 3.3.5.15.11: the address that the client came to; each server is reached by one. */
function queryNetworkInterfaces(request: Request, ioctl: IoctlRequest): Reply {
  if (request.connection.dialect < Dialect.SMB_3_0) return statusReply(Status.NOT_SUPPORTED);
  const address = request.connection.localAddress.replace(/^::ffff:/, '').replace(/%.*$/, '');
  if (!isIPv4(address) && !isIPv6(address)) return statusReply(Status.NOT_SUPPORTED);
  const output = encodeNetworkInterfaceInfo([{ ifIndex: 1, capability: 0, linkSpeed: LINK_SPEED, address }]);
  if (ioctl.maxOutputResponse < output.length) return statusReply(Status.BUFFER_TOO_SMALL);
  return ioctlReply(ioctl, output);
}

/** The response of an IOCTL that has done what it was asked. */
export function ioctlReply({ ctlCode, fileId }: IoctlRequest, output: Buffer, status: number = Status.SUCCESS): Reply {
  return reply(encodeIoctlResponse({ ctlCode, fileId, input: Buffer.alloc(0), output, flags: 0 }), status);
}
