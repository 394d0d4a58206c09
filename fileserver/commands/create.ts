import { monotonicMs } from '../../common/time.ts';
import { CreateDisposition, CreateOptions } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { type CreateRequest, decodeCreateRequest } from '../../smb/wire/create.ts';
import { type Reply, type Request, statusReply } from '../session/request.ts';
import type { Lookup } from '../volume/folder.ts';
import { parseWirePath, type WirePath } from '../volume/names.ts';
import { wishesOf } from './create/contexts.ts';
import type { CreateAsk } from './create/create-ask.ts';
import { createNew, type Missing } from './create/create-new.ts';
import { expectedIoFlags, openExisting } from './create/open-existing.ts';
import { openStream } from './create/open-stream.ts';
import { checkParameters, createsMissing } from './create/parameters.ts';
import { claimOf, reclaim } from './create/reconnect.ts';
import { onceForGuid } from './create/replay.ts';
import { LookAgain } from './look-again.ts';
import { onVolume } from './open-of.ts';
import { statusOfPathProblem } from './path-status.ts';

/** How often a CREATE looks again when the file that it found was renamed or removed meanwhile. */
const ATTEMPTS = 8;

/** CREATE (MS-SMB2 3.3.5.9), of a file or directory. */
export const create = onVolume(async (request: Request): Promise<Reply> => {
  const wire = decodeCreateRequest(request.message);
  const wishes = wishesOf(wire, request.connection.dialect);
  const folder = await request.services.opens.folderOf(request.tree.share);
  const claim = claimOf(wishes, wire.name);
  // What was granted once is not asked for again (MS-SMB2 3.3.5.9.7): the answer says nothing of it.
  if (claim) return reclaim(request, folder, { ...wishes, durable: undefined, durableV1: false }, claim);
  const refusal = checkParameters(wire);
  if (refusal !== Status.SUCCESS) return statusReply(refusal);
  const path = parseWirePath(wire.name);
  if (typeof path === 'string') return statusReply(statusOfPathProblem(path));
  const mismatch = takeType(wire, path);
  if (mismatch !== Status.SUCCESS) return statusReply(mismatch);
  const ask: CreateAsk = {
    request,
    wire,
    wishes,
    folder,
    names: path.names,
    stream: path.stream,
    isQuotas: path.type === 'quotas',
  };
  return wishes.durable ? onceForGuid(ask, execute) : execute(ask);
});

async function execute(ask: CreateAsk): Promise<Reply> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await openOrCreate(ask);
    } catch (error) {
      if (!(error instanceof LookAgain)) throw error;
      if (attempt === ATTEMPTS) return statusReply(Status.SHARING_VIOLATION);
    }
  }
}

/** What the path says that it names goes before what the options leave open (MS-FSA 2.1.5.1). SUCCESS or the status to refuse with. */
function takeType(wire: CreateRequest, { type }: WirePath): number {
  if (type === 'any') return Status.SUCCESS;
  if (type === 'quotas') {
    return wire.createDisposition === CreateDisposition.OPEN ? Status.SUCCESS : Status.OBJECT_NAME_COLLISION;
  }
  const data = type === 'data';
  const wrong = data ? CreateOptions.DIRECTORY_FILE : CreateOptions.NON_DIRECTORY_FILE;
  if ((wire.createOptions & wrong) !== 0) return data ? Status.NOT_A_DIRECTORY : Status.FILE_IS_A_DIRECTORY;
  wire.createOptions |= data ? CreateOptions.NON_DIRECTORY_FILE : CreateOptions.DIRECTORY_FILE;
  return Status.SUCCESS;
}

function openOrCreate(ask: CreateAsk): Promise<Reply> {
  if (ask.stream !== undefined) return openStream(ask, ask.stream);
  const lookedUpMs = monotonicMs();
  const looked = ask.folder.lookup(ask.names, expectedIoFlags(ask));
  if (looked instanceof Promise) return looked.then((found) => carryOut(ask, found, lookedUpMs));
  return carryOut(ask, looked, lookedUpMs);
}

function carryOut(ask: CreateAsk, found: Lookup, lookedUpMs: number): Promise<Reply> {
  if (found.kind === 'found') return openExisting(ask, found, lookedUpMs);
  if (found.kind === 'missing') return createMissing(ask, found);
  return Promise.resolve(statusReply(Status.OBJECT_PATH_NOT_FOUND));
}

async function createMissing(ask: CreateAsk, missing: Missing): Promise<Reply> {
  try {
    if (!createsMissing(ask.wire.createDisposition)) return statusReply(Status.OBJECT_NAME_NOT_FOUND);
    return await createNew(ask, missing);
  } finally {
    await ask.folder.posix.close(missing.parentFd);
  }
}
