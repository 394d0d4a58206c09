import { Durability } from '../../../proto/generated/handles.ts';
import { DurableFlags } from '../../../smb/constants.ts';
import { Status } from '../../../smb/status.ts';
import { encodeCreateResponse, type FileFacts } from '../../../smb/wire/create.ts';
import {
  type CreateContext,
  encodeDH2QResponse,
  encodeDHnQResponse,
  encodeMxAcResponse,
  encodeQFidResponse,
  CreateContextName as Name,
} from '../../../smb/wire/create-contexts.ts';
import { wireOplockLevel } from '../../opens/break.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Reply, type Request, reply } from '../../session/request.ts';
import { leaseContextOf } from './caching.ts';
import type { Wishes } from './contexts.ts';

export interface AnswerFacts {
  facts: FileFacts;
  inode: bigint;
  /** What this user could have been granted at most. */
  maximalAccess: number;
  /** As the client is to hear of it, OplockLevel.*; else what the open has. */
  oplockLevel?: number;
  /** CreateAction.*; else what the CREATE of the open did. */
  createAction?: number;
}

/** The successful answer (MS-SMB2 3.3.5.9): the same for a new open, a replay and a reconnect. */
export function answerCreate(request: Request, open: OpenFile, wishes: Wishes, about: AnswerFacts): Reply {
  request.setCompoundFileId(open.fileId);
  open.connection = request.connection;
  request.services.opens.granted(open);
  return reply(
    encodeCreateResponse({
      ...about.facts,
      oplockLevel: about.oplockLevel ?? wireOplockLevel(open.record.oplock),
      flags: 0,
      createAction: about.createAction ?? open.attachment.createAction,
      fileId: open.fileId,
      createContexts: contextsOf(open, wishes, about),
    }),
  );
}

function contextsOf(open: OpenFile, wishes: Wishes, { facts, inode, maximalAccess }: AnswerFacts): CreateContext[] {
  const contexts: CreateContext[] = [];
  if (wishes.maximalAccess) {
    const { timestamp } = wishes.maximalAccess;
    // The client knows it already if the file did not change since (3.3.5.9.5).
    const known = timestamp !== undefined && timestamp !== 0n && timestamp === facts.lastWriteTime;
    const data = encodeMxAcResponse({ queryStatus: known ? Status.NONE_MAPPED : Status.SUCCESS, maximalAccess });
    contexts.push({ name: Name.QUERY_MAXIMAL_ACCESS_REQUEST, data });
  }
  if (wishes.diskId) {
    const volumeId = open.folder.volume.id.readBigUInt64LE(0);
    contexts.push({ name: Name.QUERY_ON_DISK_ID, data: encodeQFidResponse({ diskFileId: inode, volumeId }) });
  }
  const lease = leaseContextOf(open);
  if (lease) contexts.push(lease);
  if (wishes.durable && open.record.durability !== Durability.NOT_DURABLE) {
    const flags = open.record.durability === Durability.PERSISTENT ? DurableFlags.PERSISTENT : 0;
    const data = encodeDH2QResponse({ timeoutMs: open.attachment.timeoutMs, flags });
    contexts.push({ name: Name.DURABLE_HANDLE_REQUEST_V2, data });
  }
  if (wishes.durableV1 && open.record.durability !== Durability.NOT_DURABLE) {
    contexts.push({ name: Name.DURABLE_HANDLE_REQUEST, data: encodeDHnQResponse() });
  }
  return contexts;
}
