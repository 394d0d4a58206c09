// CREATE with a CreateGuid (MS-SMB2 3.3.5.9.10): is it the first, a replay, or one too many?
import { Durability, Outcome } from '../../../proto/generated/handles.ts';
import { OplockLevel } from '../../../smb/constants.ts';
import { Status } from '../../../smb/status.ts';
import { statusOfOutcome } from '../../handles.ts';
import { wireOplockLevel } from '../../opens/break.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { statOfOpen } from '../../opens/stat.ts';
import { type Reply, type Request, statusReply } from '../../session/request.ts';
import { factsOf } from '../../volume/facts.ts';
import { answerCreate } from './answer.ts';
import { replayKeyFor, userOf } from './ask.ts';
import { type Wishes, wantsHandleCaching } from './contexts.ts';
import type { CreateAsk } from './create-ask.ts';
import { reclaim } from './reconnect.ts';

/** Answers a replay with the open of the first request, and has `execute` do everything else. */
export async function onceForGuid(ask: CreateAsk, execute: (ask: CreateAsk) => Promise<Reply>): Promise<Reply> {
  const { request, wishes } = ask;
  const key = replayKeyFor(ask);
  if (key === undefined || !wishes.durable) return execute(ask);
  const { creations } = request.services.opens;
  const first = creations.find(key);
  if (first && !request.isReplay) return statusReply(Status.DUPLICATE_OBJECTID);
  if (first?.session?.state === 'Valid') return answerReplay(ask, first);
  if (creations.isPending(key)) {
    return statusReply(request.isReplay ? Status.FILE_NOT_AVAILABLE : Status.DUPLICATE_OBJECTID);
  }
  creations.begin(key);
  request.outlivesChannel = true;
  try {
    const answer = request.isReplay ? await replayOfLost(ask, wishes.durable.createGuid, first) : undefined;
    if (answer) return answer;
    const reply = await execute(ask);
    if (reply.status !== Status.DUPLICATE_OBJECTID || !isUsedHere(ask, wishes.durable.createGuid)) return reply;
    return await execute({ ...ask, guidAgain: true });
  } finally {
    creations.end(key);
  }
}

/** The first request made an open here, and its session lives. */
function answerReplay(ask: CreateAsk, open: OpenFile): Reply | Promise<Reply> {
  const { request, wishes } = ask;
  const { record } = open;
  if (open.session !== request.session) return statusReply(Status.DUPLICATE_OBJECTID);
  if (record.user !== userOf(request)) return statusReply(Status.ACCESS_DENIED);
  const key = wishes.lease?.leaseKey;
  const isSameLease = record.lease && key ? key.equals(record.lease.key) : !record.lease && !key;
  if (!isSameLease) return statusReply(Status.ACCESS_DENIED);
  // The client is told of durability only where this request could have been granted it.
  const isDurable =
    record.lease !== undefined || record.durability === Durability.PERSISTENT || wantsHandleCaching(ask.wire, wishes);
  const told = isDurable ? wishes : { ...wishes, durable: undefined };
  return answerWith(request, open, told, oplockOfReplay(ask, open));
}

/** A replay that asks for less than was granted is told of no more; the open keeps what it has. */
function oplockOfReplay({ wire }: CreateAsk, open: OpenFile): number {
  const granted = wireOplockLevel(open.record.oplock);
  if (granted === OplockLevel.LEASE) return granted;
  return Math.min(granted, wire.requestedOplockLevel);
}

async function answerWith(request: Request, open: OpenFile, wishes: Wishes, oplockLevel: number): Promise<Reply> {
  const stat = await statOfOpen(open);
  const facts = factsOf(stat, await open.folder.attributes(open.metadataFd));
  const about = { facts, inode: stat.inode, maximalAccess: request.tree.maximalAccess, oplockLevel };
  return answerCreate(request, open, wishes, about);
}

/** The session has an open with that CreateGuid, and its client has used it: it is not Open.IsReplayEligible any more. */
function isUsedHere({ request }: CreateAsk, createGuid: Buffer): boolean {
  for (const open of request.services.opens.opensOf(request.session)) {
    if (open.replayKey === undefined && open.record.createGuid.equals(createGuid)) return true;
  }
  return false;
}

/** The open that the first request made at another server, or under a session that has ended; undefined if it never arrived. */
async function replayOfLost(
  { request, folder, wishes }: CreateAsk,
  createGuid: Buffer,
  here: OpenFile | undefined,
): Promise<Reply | undefined> {
  const { services, connection } = request;
  let record = here?.record;
  if (!record) {
    const user = userOf(request);
    const asked = { createGuid, clientGuid: connection.clientGuid, user };
    const { outcome, value } = await services.handles.findCreate(asked, request);
    if (outcome === Outcome.NOT_FOUND) return undefined;
    if (outcome !== Outcome.GRANTED || !value?.record) return statusReply(statusOfOutcome(outcome));
    record = value.record;
    // Its client has used it since, through a session that lives: nothing that is answered now could be a replay of it.
    const known = services.opens.byId(record.openId);
    if (known?.session?.state === 'Valid' && known.session.connection.isOpen) return undefined;
  }
  const persistent = record.durability === Durability.PERSISTENT;
  return reclaim(request, folder, wishes, { openId: record.openId, createGuid, persistent, name: undefined });
}
