import { ALL_ONES_FILE_ID, Command, Dialect, Fsctl, IoctlFlags } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { EMPTY } from '../../smb/wire/cursor.ts';
import { decodeIoctlResponse, encodeIoctlRequest } from '../../smb/wire/ioctl.ts';
import {
  decodeValidateNegotiateInfoResponse,
  encodeValidateNegotiateInfoRequest,
} from '../../smb/wire/ioctl-payloads.ts';
import { decodeNegotiateRequest } from '../../smb/wire/negotiate.ts';
import { addressText } from '../connect/address.ts';
import { SmbError } from '../errors.ts';
import type { Connection } from './connection.ts';

/**
 * Secure negotiate (MS-SMB2 3.2.5.5): asks the server, in a signed message, what was negotiated, so that a man in the middle
 * cannot have talked both down to less. 3.1.1 needs none: its keys depend on what was negotiated.
 * Throws SmbError PROTOCOL_VIOLATION when the answers differ.
 */
export async function validateNegotiation(connection: Connection, treeId: number, signal: AbortSignal): Promise<void> {
  const { negotiated, negotiateExchange, address } = connection;
  if (negotiated.dialect === Dialect.SMB_3_1_1) return;
  const sent = decodeNegotiateRequest(negotiateExchange.request);
  const { status, message } = await connection.send({
    command: Command.IOCTL,
    body: encodeIoctlRequest({
      ctlCode: Fsctl.VALIDATE_NEGOTIATE_INFO,
      fileId: ALL_ONES_FILE_ID,
      input: encodeValidateNegotiateInfoRequest(sent),
      maxInputResponse: 0,
      maxOutputResponse: 24,
      flags: IoctlFlags.IS_FSCTL,
      output: EMPTY,
    }),
    treeId,
    signal,
  });
  const what = `secure negotiate with ${addressText(address)}`;
  if (status !== Status.SUCCESS) throw SmbError.fromStatus(status, what);
  const told = decodeValidateNegotiateInfoResponse(decodeIoctlResponse(message).output);
  const same =
    told.dialect === negotiated.dialect &&
    told.capabilities === negotiated.capabilities &&
    told.securityMode === negotiated.securityMode &&
    told.serverGuid.equals(negotiated.serverGuid);
  if (!same) throw new SmbError('PROTOCOL_VIOLATION', `${what}: somebody changed what was negotiated`);
}
