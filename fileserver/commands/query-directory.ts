import { QueryDirectoryFlags } from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import {
  appendDirectoryEntry,
  carriesShortName,
  type DirectoryEntry,
  directoryEntryMinimumSize,
  isDirectoryInfoClass,
  sealDirectoryList,
} from '../../smb/fscc/directory.ts';
import type { AccessToken } from '../../smb/security/access.ts';
import { Access } from '../../smb/security/access-mask.ts';
import { Status } from '../../smb/status.ts';
import { HEADER_SIZE } from '../../smb/wire/header.ts';
import { OUTPUT_BUFFER_OFFSET, writeOutputBufferFixed } from '../../smb/wire/output-buffer.ts';
import { decodeQueryDirectoryRequest, type QueryDirectoryRequest } from '../../smb/wire/query-directory.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { askerOf } from '../security/asker.ts';
import { isShownTo } from '../security/rights.ts';
import { allocateRoomy, REPLY_ROOM, type Reply, type Request, roomyReply, statusReply } from '../session/request.ts';
import { DirectoryScan, type ScannedName } from '../volume/directory-scan.ts';
import { factsOf } from '../volume/facts.ts';
import { parentOf } from '../volume/folder.ts';
import { O } from '../volume/posix.ts';
import { otherShortName } from '../volume/short-name.ts';
import { statOf } from '../volume/volume.ts';
import { onVolume, openOf } from './open-of.ts';

const FIXED_SIZE = OUTPUT_BUFFER_OFFSET - HEADER_SIZE;
/** A listing is put together in a buffer of this size at most, whatever the client offers. */
const MAXIMUM_OUTPUT = 1024 * 1024;
/** Entries that are looked at before other clients get their turn. */
const ENTRIES_PER_TURN = 256;

/** QUERY_DIRECTORY (MS-SMB2 3.3.5.18, MS-FSA 2.1.5.6.3). */
export const queryDirectory = onVolume((request: Request): Reply | Promise<Reply> => {
  const wanted = decodeQueryDirectoryRequest(request.message);
  const open = openOf(request, wanted.fileId);
  if (open === undefined) return statusReply(Status.FILE_CLOSED);
  const refusal = checkRequest(request, open, wanted);
  if (refusal !== Status.SUCCESS) return statusReply(refusal);
  const { share } = request.tree ?? {};
  const hidesFrom = share?.accessBasedEnumeration ? askerOf(request).token : undefined;
  return inTurn(open, () => list(open, wanted, hidesFrom));
});

/** In the order of MS-SMB2 3.3.5.18. */
function checkRequest(request: Request, open: OpenFile, wanted: QueryDirectoryRequest): number {
  const { outputBufferLength, fileInformationClass } = wanted;
  if (!open.isDirectory) return Status.INVALID_PARAMETER;
  if (outputBufferLength > request.connection.maxTransactSize || !request.paysFor(outputBufferLength)) {
    return Status.INVALID_PARAMETER;
  }
  if (!open.may(Access.listDirectory)) return Status.ACCESS_DENIED;
  if (!isDirectoryInfoClass(fileInformationClass)) return Status.INVALID_INFO_CLASS;
  if (outputBufferLength < directoryEntryMinimumSize(fileInformationClass)) return Status.INFO_LENGTH_MISMATCH;
  return Status.SUCCESS;
}

/** Queries of one open run one after the other: they share its place in the directory. */
const turns = new WeakMap<OpenFile, Promise<unknown>>();

function inTurn(open: OpenFile, query: () => Promise<Reply>): Promise<Reply> {
  open.begin(false);
  const before = turns.get(open);
  const mine = (before ? before.then(query) : query()).finally(() => open.end(false));
  turns.set(
    open,
    mine.catch(() => {}),
  );
  return mine;
}

/** @param hidesFrom whose rights decide what is shown; undefined: all is */
async function list(open: OpenFile, wanted: QueryDirectoryRequest, hidesFrom: AccessToken | undefined): Promise<Reply> {
  const scan = await scanFor(open, wanted);
  try {
    return await answer(open, scan, wanted, hidesFrom);
  } finally {
    scan.rest();
  }
}

async function answer(
  open: OpenFile,
  scan: DirectoryScan,
  wanted: QueryDirectoryRequest,
  hidesFrom: AccessToken | undefined,
): Promise<Reply> {
  const size = Math.min(wanted.outputBufferLength, MAXIMUM_OUTPUT);
  const buffer = allocateRoomy(FIXED_SIZE + size);
  const output = buffer.subarray(REPLY_ROOM + FIXED_SIZE, REPLY_ROOM + FIXED_SIZE + size);
  const filled = await fill(open, scan, wanted, hidesFrom, output);
  if (filled === 'too-small') return statusReply(Status.INFO_LENGTH_MISMATCH);
  if (filled === 0) return statusReply(scan.returnedAny ? Status.NO_MORE_FILES : Status.NO_SUCH_FILE);
  scan.returnedAny = true;
  writeOutputBufferFixed(buffer, REPLY_ROOM, filled);
  return roomyReply(buffer, FIXED_SIZE + filled);
}

/** The open's place in the directory; begins anew where the client asks for that (3.3.5.18). */
async function scanFor(open: OpenFile, { flags, fileName }: QueryDirectoryRequest): Promise<DirectoryScan> {
  const reopens = (flags & QueryDirectoryFlags.REOPEN) !== 0;
  if (reopens && open.scan) {
    await open.scan.close();
    open.scan = undefined;
  }
  open.scan?.resume();
  if (open.scan === undefined) {
    open.scan = await DirectoryScan.open(open.folder.posix, open.fd, open.path === '.');
    await open.scan.restart(fileName === '' ? '*' : fileName);
  } else if ((flags & QueryDirectoryFlags.RESTART_SCANS) !== 0) {
    await open.scan.restart(fileName === '' ? open.scan.pattern : fileName);
  }
  return open.scan;
}

/** Bytes written; 0: there are no more names; too-small: not even one entry fits. */
async function fill(
  open: OpenFile,
  scan: DirectoryScan,
  { fileInformationClass, flags }: QueryDirectoryRequest,
  hidesFrom: AccessToken | undefined,
  output: Buffer,
): Promise<number | 'too-small'> {
  const single = (flags & QueryDirectoryFlags.RETURN_SINGLE_ENTRY) !== 0;
  const namesOnly = fileInformationClass === FileInfoClass.names;
  const shortNames = carriesShortName(fileInformationClass);
  let at = 0;
  let lastAt = -1;
  for (let seen = 1; ; seen++) {
    if (seen % ENTRIES_PER_TURN === 0) await new Promise(setImmediate);
    const name = await scan.next();
    if (name === undefined) break;
    let entry: DirectoryEntry | undefined;
    try {
      entry = namesOnly && !hidesFrom ? nameOnly(name) : await entryOf(open, scan, name, hidesFrom);
    } catch (error) {
      // What was found goes out; the name that the volume failed at comes first the next time.
      scan.pushBack(name);
      if (lastAt < 0) throw error;
      break;
    }
    if (entry === undefined) continue;
    if (shortNames && !isDots(name)) entry.shortName = otherShortName(name.wire);
    const used = appendDirectoryEntry(fileInformationClass, output, at, entry);
    if (used < 0) {
      scan.pushBack(name);
      if (lastAt < 0) return 'too-small';
      break;
    }
    lastAt = at;
    at += used;
    if (single) break;
  }
  if (lastAt < 0) return 0;
  sealDirectoryList(output, lastAt);
  return at;
}

function nameOnly({ wire }: ScannedName): DirectoryEntry {
  return {
    fileName: wire,
    creationTime: 0n,
    lastAccessTime: 0n,
    lastWriteTime: 0n,
    changeTime: 0n,
    endOfFile: 0,
    allocationSize: 0,
    fileAttributes: 0,
    eaSize: 0,
    reparseTag: 0,
    fileId: 0n,
  };
}

/** undefined: the name went meanwhile, leads out of the share, or is hidden from this user. */
async function entryOf(
  open: OpenFile,
  scan: DirectoryScan,
  name: ScannedName,
  hidesFrom: AccessToken | undefined,
): Promise<DirectoryEntry | undefined> {
  const found = isDots(name) ? await dotsOf(open, name) : await open.folder.entry(scan.fd, open.path, name.disk);
  if (found === undefined) return undefined;
  const { stat, stored } = found;
  if (hidesFrom && stored.hasDescriptor && !isDots(name)) {
    const descriptor = await open.folder.entryDescriptor(open.path, name.disk);
    if (descriptor === undefined || !isShownTo(hidesFrom, descriptor)) return undefined;
  }
  return { fileName: name.wire, ...factsOf(stat, stored), eaSize: stored.eaSize, reparseTag: 0, fileId: stat.inode };
}

const isDots = ({ disk }: ScannedName): boolean => disk === '.' || disk === '..';

/** `..` of the share's root is the root itself: nothing beyond is shown. */
async function dotsOf(open: OpenFile, { disk }: ScannedName) {
  const { folder } = open;
  if (disk === '.' || open.path === '.') {
    return { stat: await statOf(folder.posix, open.fd), stored: await folder.attributes(open.fd) };
  }
  const fd = await folder.open(parentOf(open.path), O.PATH | O.DIRECTORY);
  if (fd < 0) return undefined;
  try {
    return { stat: await statOf(folder.posix, fd), stored: await folder.attributes(fd) };
  } finally {
    await folder.posix.close(fd);
  }
}
