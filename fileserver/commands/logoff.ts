// LOGOFF (MS-SMB2 3.3.5.6).
import { decodeLogoffRequest, encodeLogoffResponse } from '../../smb/wire/logoff.ts';
import { type Reply, type Request, reply } from '../session/request.ts';

/** Durable and persistent opens stay and wait for their client, the others are closed. */
export async function logoff(request: Request): Promise<Reply> {
  decodeLogoffRequest(request.message);
  await request.connection.endSession(request.session, 'logoff', 1);
  return reply(encodeLogoffResponse());
}
