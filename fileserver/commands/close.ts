import { CloseFlags } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { type CloseResponse, decodeCloseRequest, encodeCloseResponse } from '../../smb/wire/close.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { statOfOpen } from '../opens/stat.ts';
import { type Reply, type Request, reply, statusReply } from '../session/request.ts';
import { factsOf } from '../volume/facts.ts';
import { onVolume, openOf } from './open-of.ts';

/** CLOSE (MS-SMB2 3.3.5.10). Answered after the table has forgotten the open: what was closed is never reclaimable. */
export const close = onVolume((request: Request): Reply | Promise<Reply> => {
  const { flags, fileId } = decodeCloseRequest(request.message);
  const open = openOf(request, fileId);
  if (open === undefined) return statusReply(Status.FILE_CLOSED);
  const wantsFacts = (flags & CloseFlags.POSTQUERY_ATTRIB) !== 0;
  return wantsFacts ? closeWithFacts(request, open) : closeOpen(request, open);
});

async function closeOpen(request: Request, open: OpenFile): Promise<Reply> {
  await request.services.opens.close(open);
  return reply(encodeCloseResponse(undefined));
}

async function closeWithFacts(request: Request, open: OpenFile): Promise<Reply> {
  let facts: CloseResponse | undefined;
  await request.services.opens.close(open, async () => {
    facts = await factsAtEnd(open);
  });
  return reply(encodeCloseResponse(facts));
}

/** Without facts CLOSE succeeds all the same. */
async function factsAtEnd(open: OpenFile): Promise<CloseResponse | undefined> {
  const { posix } = open.folder;
  const stat = open.base ? await statOfOpen(open) : await posix.stat(open.fd);
  if (typeof stat === 'number') return undefined;
  return { flags: CloseFlags.POSTQUERY_ATTRIB, ...factsOf(stat, await open.folder.attributes(open.metadataFd)) };
}
