import { Durability, type OpenRecord, OplockLevel, Outcome } from '../../../proto/generated/handles.ts';
import { CreateAction, CreateDisposition, CreateOptions, FileAttributes } from '../../../smb/constants.ts';
import { NotifyFilter } from '../../../smb/fscc/constants.ts';
import { changedEaList, eaSizeOf } from '../../../smb/fscc/ea.ts';
import { Status } from '../../../smb/status.ts';
import type { FileFacts } from '../../../smb/wire/create.ts';
import { statusOfOutcome } from '../../handles.ts';
import { openFlags, openForAccess } from '../../opens/adoption.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { removeStreams } from '../../opens/pins.ts';
import { type Reply, StatusError, statusReply } from '../../session/request.ts';
import { defaultAttributes, fileAttributes, type StoredAttributes } from '../../volume/attributes.ts';
import { factsOf } from '../../volume/facts.ts';
import type { FoundFile } from '../../volume/folder.ts';
import type { FileDescription } from '../../volume/known-files.ts';
import { checked, type Eventually, isDirectory, isRegular, O, type Stat } from '../../volume/posix.ts';
import { statOf, statted } from '../../volume/volume.ts';
import { LookAgain } from '../look-again.ts';
import { type DecidedAccess, decideAccess } from './access.ts';
import { answerCreate } from './answer.ts';
import { newAttributes, recordFor, replayKeyFor, writesThrough } from './ask.ts';
import type { CreateAsk } from './create-ask.ts';
import { lacksEaKnowledge, refuseNeededEas } from './ea-knowledge.ts';
import { madeBy } from './made-by.ts';
import { checkExisting, grantedAccess, overwrites } from './parameters.ts';
import { reserveSpace } from './reserve-space.ts';

/** What NTFS says of the index of quotas. */
const quotaIndexFacts: FileFacts = {
  creationTime: 0n,
  lastAccessTime: 0n,
  lastWriteTime: 0n,
  changeTime: 0n,
  allocationSize: 0,
  endOfFile: 0,
  fileAttributes: FileAttributes.DIRECTORY | FileAttributes.HIDDEN | FileAttributes.SYSTEM | FileAttributes.ARCHIVE,
};

/** Flags of open(2) that this CREATE will want of a regular file that forbids nothing; undefined: none, or not known. */
export function expectedIoFlags(ask: CreateAsk): number | undefined {
  const access = grantedAccess(ask.wire.desiredAccess, ask.request.tree.maximalAccess);
  return access === undefined ? undefined : openFlags(access, false, writesThrough(ask));
}

/**
 * Opens a file that is there. Takes over the descriptor of `found`.
 * @param lookedUpMs when it was begun to be looked up, monotonic
 * @throws LookAgain its name may lead elsewhere by now; StatusError, PosixError
 */
export async function openExisting(ask: CreateAsk, found: FoundFile, lookedUpMs: number): Promise<Reply> {
  const { folder, request, wire } = ask;
  let about: FileDescription;
  let decided: DecidedAccess;
  let record: OpenRecord;
  let isOwn = false;
  try {
    const described = folder.describe(found);
    about = described instanceof Promise ? await described : described;
    if (about.stored.eaSize > 0 && lacksEaKnowledge(ask)) await refuseNeededEas(ask, found.fd);
    if ((wire.createOptions & CreateOptions.DELETE_ON_CLOSE) !== 0) await folder.expectWritable(found.fd);
    const own = request.isReplay ? await madeBy(ask, found, about) : undefined;
    isOwn = own !== undefined;
    if (own) about = own;
    const deciding = decide(isOwn ? asIfNew(ask) : ask, found, about, isOwn);
    decided = deciding instanceof Promise ? await deciding : deciding;
    record = recordFor(ask, {
      fileId: about.fileId,
      path: found.path,
      isDirectory: isDirectory(found.stat),
      access: decided.access,
      createAction: isOwn ? CreateAction.CREATED : actionOf(wire.createDisposition),
    });
  } catch (error) {
    await folder.posix.close(found.fd);
    throw error;
  }
  let { stored } = about;
  const directory = isDirectory(found.stat);
  const truncates = overwrites(wire.createDisposition);
  if (!truncates && mayBeKept(record)) record.kept = true;
  const { outcome, value } = await request.services.handles.open(
    { record, truncates, drop: undefined, guidAgain: ask.guidAgain, lookedUpMs },
    request,
  );
  if (outcome !== Outcome.GRANTED || !value?.record) {
    await folder.posix.close(found.fd);
    if (outcome === Outcome.NAME_BUSY) throw new LookAgain('a directory above was being renamed');
    return statusReply(statusOfOutcome(outcome));
  }
  const granted = value.record;
  const giveBack = () => request.services.handles.close({ fileId: granted.fileId, openId: granted.openId });
  let open: OpenFile;
  let stat: Stat;
  const through = writesThrough(ask);
  try {
    const want = { access: decided.access, directory, writeThrough: through };
    const isOpen = found.ioFlags !== undefined && found.ioFlags === openFlags(want.access, directory, through);
    const fd = isOpen ? found.fd : await openForAccess(folder, found.fd, want);
    try {
      const now = folder.posix.stat(fd);
      stat = statted(now instanceof Promise ? await now : now);
      if (stat.links === 0) throw new LookAgain('the file was removed while it was opened');
      if (truncates) {
        await dropStreams(ask, granted);
        await truncate(ask, fd, stored);
        stored = await folder.attributes(fd);
        stat = await statOf(folder.posix, fd);
        const overwritten = NotifyFilter.attributes | NotifyFilter.size | NotifyFilter.lastWrite;
        request.services.changes.modified(request.tree.share, found.path, overwritten);
      }
    } catch (error) {
      await folder.posix.close(fd);
      throw error;
    }
    const { session, tree } = request;
    open = request.services.opens.add({
      record: granted,
      folder,
      fd,
      writesThrough: through,
      session,
      tree,
      channelSequence: ask.request.channelSequence,
      replayKey: replayKeyFor(ask),
      fileState: value.fileState,
    });
    request.opened();
    if (directory && open.record.lease) await request.services.opens.directoryLeases.hold(open, tree.share);
  } catch (error) {
    await giveBack();
    throw error;
  }
  const facts = ask.isQuotas ? quotaIndexFacts : factsOf(stat, stored);
  return answerCreate(request, open, ask.wishes, { facts, inode: stat.inode, maximalAccess: decided.maximal });
}

/** Nothing about the open depends on who has it, or ends with its CLOSE but the open itself (handles/kept-opens.ts). */
function mayBeKept(record: OpenRecord): boolean {
  return (
    record.durability === Durability.NOT_DURABLE &&
    record.oplock === OplockLevel.OPLOCK_NONE &&
    record.createGuid.length === 0 &&
    record.appInstanceId.length === 0 &&
    !record.isDirectory &&
    !record.deleteOnClose
  );
}

/** What may be decided before the table is asked. Throws StatusError and PosixError. */
function decide(
  ask: CreateAsk,
  found: FoundFile,
  { stored, descriptor }: FileDescription,
  isOwn: boolean,
): Eventually<DecidedAccess> {
  const known = fileAttributes(found.stat, stored);
  // Who makes a file that is read-only may write to it (MS-FSA 2.1.5.1.1).
  const attributes = isOwn ? known & ~FileAttributes.READONLY : known;
  const existing = { isDirectory: isDirectory(found.stat), isRegular: isRegular(found.stat), attributes };
  const refusal = checkExisting(ask.wire, existing);
  if (refusal !== Status.SUCCESS) throw new StatusError(refusal);
  return decideAccess(ask, { path: found.path, attributes, descriptor });
}

/** A file that the request itself has made collides with nothing. */
function asIfNew(ask: CreateAsk): CreateAsk {
  if (ask.wire.createDisposition !== CreateDisposition.CREATE) return ask;
  return { ...ask, wire: { ...ask.wire, createDisposition: CreateDisposition.OPEN } };
}

/** CreateAction of a file or stream that was there. */
export function actionOf(disposition: number): number {
  switch (disposition) {
    case CreateDisposition.SUPERSEDE:
      return CreateAction.SUPERSEDED;
    case CreateDisposition.OVERWRITE:
    case CreateDisposition.OVERWRITE_IF:
      return CreateAction.OVERWRITTEN;
    default:
      return CreateAction.OPENED;
  }
}

/** Overwriting a file removes its streams, unless somebody has one open and does not share that. Throws StatusError. */
async function dropStreams(ask: CreateAsk, record: OpenRecord): Promise<void> {
  const outcome = await removeStreams(ask.request.services.handles, ask.folder, record, writesThrough(ask));
  if (outcome !== Outcome.GRANTED) throw new StatusError(statusOfOutcome(outcome));
}

/** Throws away the data, and gives the file the attributes, extended ones too, of a new one (MS-FSA 2.1.5.1.2.1). */
async function truncate(ask: CreateAsk, fd: number, stored: StoredAttributes): Promise<void> {
  const { folder, wishes } = ask;
  const writable = checked(await folder.posix.reopen(fd, O.WRONLY), 'open');
  try {
    checked(await folder.posix.truncate(writable, 0), 'ftruncate');
    await reserveSpace(ask, writable, wishes.allocationSize);
    const attributes = newAttributes(ask, false);
    const current = stored.attributes ?? defaultAttributes(await statOf(folder.posix, fd));
    const list = changedEaList([], wishes.extendedAttributes);
    const hadOrHas = stored.eaSize > 0 || list.length > 0;
    if (hadOrHas) await folder.setExtendedAttributes(fd, list);
    if (attributes !== current || hadOrHas || stored.changeTime !== undefined) {
      await folder.setAttributes(fd, { ...stored, attributes, eaSize: eaSizeOf(list), changeTime: undefined });
    }
    if (writesThrough(ask)) checked(await folder.posix.sync(writable), 'fsync');
  } finally {
    await folder.posix.close(writable);
  }
}
