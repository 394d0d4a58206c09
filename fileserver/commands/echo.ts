// ECHO (MS-SMB2 3.3.5.17).
import { decodeEchoRequest, encodeEchoResponse } from '../../smb/wire/echo.ts';
import { type Reply, type Request, reply } from '../session/request.ts';

export function echo(request: Request): Reply {
  decodeEchoRequest(request.message);
  return reply(encodeEchoResponse());
}
