import { type OpenRecord, Outcome, type Reserve } from '../../../proto/generated/handles.ts';
import {
  CreateAction,
  CreateDisposition,
  CreateOptions,
  FileAttributes,
  OplockLevel,
  ShareAccess,
} from '../../../smb/constants.ts';
import { Access, mapGenericAccess } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import { statusOfOutcome } from '../../handles.ts';
import { openFlags, openForAccess } from '../../opens/adoption.ts';
import { pinOf, release } from '../../opens/pins.ts';
import { type Reply, StatusError, statusReply } from '../../session/request.ts';
import { fileAttributes } from '../../volume/attributes.ts';
import { factsOf } from '../../volume/facts.ts';
import type { FoundFile } from '../../volume/folder.ts';
import type { FileDescription } from '../../volume/known-files.ts';
import { foldedName, streamPath } from '../../volume/names.ts';
import { checked, Errno, isDirectory, isRegular, O } from '../../volume/posix.ts';
import type { FoundStream } from '../../volume/streams.ts';
import { statOf } from '../../volume/volume.ts';
import { LookAgain } from '../look-again.ts';
import { decideAccess } from './access.ts';
import { answerCreate } from './answer.ts';
import { recordFor, replayKeyFor, writesThrough } from './ask.ts';
import type { CreateAsk } from './create-ask.ts';
import { createOpen, type Missing } from './create-new.ts';
import { actionOf } from './open-existing.ts';
import { createsMissing, overwrites } from './parameters.ts';
import { reserveSpace } from './reserve-space.ts';

/** A stream that is wanted, of a file that is there. */
interface Wanted {
  ask: CreateAsk;
  stream: string;
  /** Its descriptor is O_PATH. */
  file: FoundFile;
  about: FileDescription;
  access: number;
  maximal: number;
}

/** An open of a stream that the table granted; the descriptor is open for I/O. */
interface Granted {
  fd: number;
  record: OpenRecord;
  fileState: Parameters<CreateAsk['request']['services']['opens']['add']>[0]['fileState'];
  createAction: number;
}

/**
 * CREATE of an alternate data stream (MS-FSA 2.1.5.1): a file of its own to the table, to locks and to data, whose attributes,
 * times and rights are those of the file that it belongs to.
 */
export async function openStream(ask: CreateAsk, stream: string): Promise<Reply> {
  const { folder } = ask;
  const found = await folder.lookup(ask.names);
  if (found.kind === 'no-path') return statusReply(Status.OBJECT_PATH_NOT_FOUND);
  if (found.kind === 'missing') {
    try {
      if (!createsMissing(ask.wire.createDisposition)) return statusReply(Status.OBJECT_NAME_NOT_FOUND);
      await createFileOf(ask, found);
    } finally {
      await folder.posix.close(found.parentFd);
    }
    throw new LookAgain('the file is there now');
  }
  let kept = false;
  try {
    const about = await folder.describe(found);
    const wanted = await decide(ask, stream, found, about);
    const reply = await withPin(wanted);
    kept = true;
    return reply;
  } finally {
    if (!kept) await folder.posix.close(found.fd);
  }
}

/** The file that the stream is to be of, with the attributes asked for; nothing else of the request is about it. */
async function createFileOf(ask: CreateAsk, missing: Missing): Promise<void> {
  const { wire, wishes, request } = ask;
  const { open } = await createOpen(
    {
      ...ask,
      stream: undefined,
      isForStream: true,
      wire: {
        ...wire,
        desiredAccess: Access.readAttributes,
        shareAccess: ShareAccess.READ | ShareAccess.WRITE | ShareAccess.DELETE,
        createOptions: CreateOptions.NON_DIRECTORY_FILE,
        requestedOplockLevel: OplockLevel.NONE,
      },
      wishes: { ...wishes, durable: undefined, lease: undefined, allocationSize: 0 },
    },
    missing,
  );
  await request.services.opens.close(open);
}

/** What may be decided on the file, before the stream is looked for. Throws StatusError. */
async function decide(ask: CreateAsk, stream: string, file: FoundFile, about: FileDescription): Promise<Wanted> {
  const { wire } = ask;
  if (!isDirectory(file.stat) && !isRegular(file.stat)) throw new StatusError(Status.ACCESS_DENIED);
  const attributes = fileAttributes(file.stat, about.stored);
  if ((attributes & (FileAttributes.READONLY | FileAttributes.DIRECTORY)) === FileAttributes.READONLY) {
    const writes = (mapGenericAccess(wire.desiredAccess) & (Access.writeData | Access.appendData)) !== 0;
    if (writes || overwrites(wire.createDisposition)) throw new StatusError(Status.ACCESS_DENIED);
    if ((wire.createOptions & CreateOptions.DELETE_ON_CLOSE) !== 0) throw new StatusError(Status.CANNOT_DELETE);
  }
  const decided = await decideAccess(ask, { path: file.path, attributes, descriptor: about.descriptor });
  return { ask, stream, file, about, ...decided };
}

/** Opens the stream while an open of its file stands for it; that open stays with the stream's. */
async function withPin(wanted: Wanted): Promise<Reply> {
  const { ask, file, about, stream } = wanted;
  const { request } = ask;
  const { handles } = request.services;
  const record = recordOf(wanted, about.fileId, stream, CreateAction.OPENED);
  const pin = pinOf(record, { fileId: about.fileId, isDirectory: isDirectory(file.stat) });
  const { outcome, value } = await handles.open({ record: pin, truncates: false, drop: undefined }, request);
  if (outcome !== Outcome.GRANTED || !value?.record) throw new StatusError(statusOfOutcome(outcome));
  const pinned = value.record;
  try {
    if ((await statOf(ask.folder.posix, file.fd)).links === 0) throw new LookAgain('the file was removed meanwhile');
    return await openOrCreate(wanted, pinned);
  } catch (error) {
    await release(handles, ask.folder, pinned, writesThrough(ask));
    throw error;
  }
}

async function openOrCreate(wanted: Wanted, pin: OpenRecord): Promise<Reply> {
  const { ask, about, stream } = wanted;
  const found = await ask.folder.volume.streams.find(about.fileId, stream);
  const { createDisposition: disposition } = ask.wire;
  let granted: Granted;
  if (found === undefined) {
    if (!createsMissing(disposition)) throw new StatusError(Status.OBJECT_NAME_NOT_FOUND);
    // A new stream changes the file, whatever is asked for of the stream (MS-FSA 2.1.5.1.2).
    if ((wanted.maximal & Access.writeData) === 0) throw new StatusError(Status.ACCESS_DENIED);
    granted = await createStream(wanted);
  } else {
    if (disposition === CreateDisposition.CREATE) {
      await ask.folder.posix.close(found.fd);
      throw new StatusError(Status.OBJECT_NAME_COLLISION);
    }
    granted = await openFound(wanted, found);
  }
  return answer(wanted, pin, granted);
}

function recordOf({ ask, file, access }: Wanted, fileId: Buffer, name: string, createAction: number): OpenRecord {
  return recordFor(ask, { fileId, path: streamPath(file.path, name), isDirectory: false, access, createAction });
}

/** Takes over the descriptor of `found`. */
async function openFound(wanted: Wanted, found: FoundStream): Promise<Granted> {
  const { ask, access } = wanted;
  const { folder, request, wire } = ask;
  const { posix } = folder;
  const { handles } = request.services;
  const truncates = overwrites(wire.createDisposition);
  const createAction = actionOf(wire.createDisposition);
  let record: OpenRecord;
  let fileState: Granted['fileState'];
  try {
    const fileId = await folder.fileId(found.fd, await statOf(posix, found.fd));
    const asked = recordOf(wanted, fileId, found.name, createAction);
    const { outcome, value } = await handles.open({ record: asked, truncates, drop: undefined }, request);
    if (outcome !== Outcome.GRANTED || !value?.record) throw new StatusError(statusOfOutcome(outcome));
    record = value.record;
    fileState = value.fileState;
  } catch (error) {
    await posix.close(found.fd);
    throw error;
  }
  try {
    const fd = await openForAccess(folder, found.fd, { access, directory: false, writeThrough: writesThrough(ask) });
    try {
      if ((await statOf(posix, fd)).links === 0) throw new LookAgain('the stream was removed while it was opened');
      if (truncates) await truncate(ask, fd);
    } catch (error) {
      await posix.close(fd);
      throw error;
    }
    return { fd, record, fileState, createAction };
  } catch (error) {
    await handles.close({ fileId: record.fileId, openId: record.openId });
    throw error;
  }
}

async function truncate(ask: CreateAsk, fd: number): Promise<void> {
  const { posix } = ask.folder;
  const writable = checked(await posix.reopen(fd, O.WRONLY), 'open');
  try {
    checked(await posix.truncate(writable, 0), 'ftruncate');
    await reserveSpace(ask, writable, ask.wishes.allocationSize);
    if (writesThrough(ask)) checked(await posix.sync(writable), 'fsync');
  } finally {
    await posix.close(writable);
  }
}

/** As a file is created (create-new.ts): the name is reserved, the stream created, the table asked. */
async function createStream(wanted: Wanted): Promise<Granted> {
  const { ask, about, stream, access } = wanted;
  const { folder, request } = ask;
  const { handles } = request.services;
  const { streams } = folder.volume;
  const name: Reserve = { directoryId: about.fileId, name: `:${foldedName(stream)}` };
  const { outcome } = await handles.reserve(name, request);
  if (outcome === Outcome.NAME_BUSY) throw new LookAgain('another server is at this name');
  if (outcome !== Outcome.GRANTED) throw new StatusError(statusOfOutcome(outcome));
  let isReserved = true;
  try {
    const again = await streams.find(about.fileId, stream);
    if (again !== undefined) {
      await folder.posix.close(again.fd);
      throw new LookAgain('the name was taken meanwhile');
    }
    const through = writesThrough(ask);
    const created = await streams.create(about.fileId, stream, openFlags(access, false, through) ?? O.RDONLY, through);
    if (created === -Errno.EEXIST) throw new LookAgain('the name was taken meanwhile');
    const fd = checked(created, 'openat2');
    try {
      await reserveSpace(ask, fd, ask.wishes.allocationSize);
      const fileId = await folder.fileId(fd, await statOf(folder.posix, fd));
      const record = recordOf(wanted, fileId, stream, CreateAction.CREATED);
      const decision = await handles.open({ record, truncates: false, drop: undefined }, request);
      if (decision.outcome !== Outcome.GRANTED || !decision.value?.record) {
        throw new StatusError(statusOfOutcome(decision.outcome));
      }
      isReserved = false;
      handles.dropReservation(name);
      const { record: granted, fileState } = decision.value;
      request.services.changes.added(request.tree.share, granted.path, false);
      return { fd, record: granted, fileState, createAction: CreateAction.CREATED };
    } catch (error) {
      await folder.posix.close(fd);
      await streams.remove(about.fileId, stream, false);
      throw error;
    }
  } finally {
    if (isReserved) handles.dropReservation(name);
  }
}

async function answer({ ask, file, about, maximal }: Wanted, pin: OpenRecord, granted: Granted): Promise<Reply> {
  const { request, folder } = ask;
  const stat = await statOf(folder.posix, granted.fd);
  const open = request.services.opens.add({
    record: granted.record,
    folder,
    fd: granted.fd,
    base: { fd: file.fd, pin, writeTimeAtOpen: stat.writeTime },
    writesThrough: writesThrough(ask),
    session: request.session,
    tree: request.tree,
    channelSequence: request.channelSequence,
    replayKey: replayKeyFor(ask),
    fileState: granted.fileState,
  });
  request.opened();
  if (granted.createAction === CreateAction.CREATED) {
    request.services.changes.added(request.tree.share, open.path, false);
  }
  const ofFile = await statOf(folder.posix, file.fd);
  const facts = factsOf(ofFile.takeData(stat), about.stored);
  return answerCreate(request, open, ask.wishes, { facts, inode: ofFile.inode, maximalAccess: maximal });
}
