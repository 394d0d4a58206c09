import { type OpenRecord, Outcome, type Reserve } from '../../../proto/generated/handles.ts';
import { ShareAccess } from '../../../smb/constants.ts';
import { FileAttribute } from '../../../smb/fscc/constants.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import { recordPathOf } from '../../opens/adoption.ts';
import { onBehalfOf } from '../../opens/on-behalf-of.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { askerOf } from '../../security/asker.ts';
import { directoryRights, rightsTo } from '../../security/rights.ts';
import { type Request, StatusError } from '../../session/request.ts';
import { fileAttributes } from '../../volume/attributes.ts';
import { childOf, type DiskPath, type Folder, type FoundFile, lastNameOf, parentOf } from '../../volume/folder.ts';
import type { NameHold } from '../../volume/name-cache.ts';
import { foldedName, splitWirePath } from '../../volume/names.ts';
import { checked, isDirectory, O } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { changeStatusOf } from '../change-status.ts';
import { LookAgain } from '../look-again.ts';
import { statusOfPathProblem } from '../path-status.ts';

export interface RenameOptions {
  replace: boolean;
  ignoreReadonly: boolean;
}

/** Where a file is to go; descriptors are O_PATH. */
export interface Target {
  parentFd: number;
  path: DiskPath;
  /** What stands there and would be replaced. */
  replaces: Buffer;
  /** Runs what replaces it; what belongs to a file that is gone then goes too. */
  replacing<T>(act: () => Promise<T>): Promise<T>;
}

/** Where nothing is replaced. */
const replacingNothing = <T>(act: () => Promise<T>): Promise<T> => act();

const NOTHING = Buffer.alloc(0);
/** How often names are looked up again that other servers change at the same time. */
const ATTEMPTS = 8;

/**
 * FileRenameInformation (MS-FSA 2.1.5.15.12): both names are reserved in the cluster, the table decides, then the volume renames.
 * Gives the status; throws PosixError and StatusError.
 */
export function rename(request: Request, open: OpenFile, wireName: string, options: RenameOptions): Promise<number> {
  if (!open.may(Access.delete)) return Promise.resolve(Status.ACCESS_DENIED);
  return lookingAgain(() => renameOnce(request, open, wireName, options));
}

async function renameOnce(request: Request, open: OpenFile, wireName: string, options: RenameOptions): Promise<number> {
  const { folder } = open;
  const from = await currentPath(open);
  if (from === '.') return Status.ACCESS_DENIED;
  const target = await targetOf(open, from, wireName, options);
  if (target === 'same') return Status.SUCCESS;
  try {
    const fromParent = await folder.openParent(from);
    try {
      const names = await reservations(folder, fromParent, from, target);
      return await withReserved(request, names, async (hold) => {
        if ((await currentPath(open)) !== from) throw new LookAgain('the file was renamed meanwhile');
        await expectUnchanged(open, { from, target, wireName, options }, hold);
        return withParentOpen(request, open, target, () =>
          decideAndRename(request, open, { fromParent, from, target }),
        );
      });
    } finally {
      await folder.posix.close(fromParent);
    }
  } finally {
    await folder.posix.close(target.parentFd);
  }
}

/** The file's path, verified: another server may have renamed it. */
async function currentPath(open: OpenFile): Promise<DiskPath> {
  const { folder, file } = open;
  for (const path of [file.path, folder.pathOf(open.fd)]) {
    if (path === undefined) continue;
    const fd = await folder.open(path, O.PATH);
    if (fd < 0) continue;
    try {
      if ((await folder.fileId(fd, await statOf(folder.posix, fd))).equals(file.fileId)) return path;
    } finally {
      await folder.posix.close(fd);
    }
  }
  throw new StatusError(Status.OBJECT_NAME_NOT_FOUND);
}

/**
 * Where a name leads. 'same': to the file itself. Throws StatusError and PosixError.
 * @param hold where it is reserved in the cluster
 */
export async function targetOf(
  open: OpenFile,
  from: DiskPath,
  wireName: string,
  options: RenameOptions,
  hold?: NameHold,
): Promise<Target | 'same'> {
  const { folder } = open;
  const names = splitWirePath(wireName.replace(/^\\/, ''));
  if (typeof names === 'string') throw new StatusError(statusOfPathProblem(names));
  const wanted = names.at(-1);
  if (wanted === undefined) throw new StatusError(Status.OBJECT_NAME_COLLISION);
  const found = await folder.lookup(names, undefined, hold);
  if (found.kind === 'no-path') throw new StatusError(Status.OBJECT_PATH_NOT_FOUND);
  if (found.kind === 'missing') {
    const path = childOf(found.parentPath, found.name);
    return { parentFd: found.parentFd, path, replaces: NOTHING, replacing: replacingNothing };
  }
  try {
    const fileId = await folder.fileId(found.fd, found.stat);
    const path = childOf(parentOf(found.path), wanted);
    // The same file: its case is changed, or nothing is.
    if (fileId.equals(open.file.fileId)) {
      if (path === from) return 'same';
      return { parentFd: await folder.openParent(path), path, replaces: NOTHING, replacing: replacingNothing };
    }
    if (!options.replace) throw new StatusError(Status.OBJECT_NAME_COLLISION);
    await checkReplaceable(open, found, options);
    const isLastName = found.stat.links <= 1;
    return {
      parentFd: await folder.openParent(found.path),
      path: found.path,
      replaces: fileId,
      replacing: (act) => (isLastName ? folder.replacing(fileId, act) : act()),
    };
  } finally {
    await folder.posix.close(found.fd);
  }
}

/** Runs what looks names up and reserves them, anew as long as another server was quicker. */
export async function lookingAgain(act: () => Promise<number>): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof LookAgain)) throw error;
      if (attempt === ATTEMPTS) return Status.SHARING_VIOLATION;
    }
  }
}

/**
 * Where a name led was looked up before it was reserved. Now that it is, nobody changes it: what another server did to it in between,
 * under a name that differs in case too, shows here.
 * @throws LookAgain it leads elsewhere; StatusError as targetOf
 */
export async function expectUnchanged(
  open: OpenFile,
  looked: { from: DiskPath; target: Target; wireName: string; options: RenameOptions },
  hold: NameHold,
): Promise<void> {
  const { from, target, wireName, options } = looked;
  const now = await targetOf(open, from, wireName, options, hold);
  if (now !== 'same') await open.folder.posix.close(now.parentFd);
  if (now === 'same' || now.path !== target.path || !now.replaces.equals(target.replaces)) {
    throw new LookAgain('the name leads elsewhere by now');
  }
}

/** Directories are not replaced, nor replace they anything; neither are files that are read-only (MS-FSA 2.1.5.15.12). */
async function checkReplaceable(open: OpenFile, found: FoundFile, { ignoreReadonly }: RenameOptions): Promise<void> {
  if (open.isDirectory || isDirectory(found.stat)) throw new StatusError(Status.ACCESS_DENIED);
  const { folder } = open;
  const { stored, descriptor } = await folder.describe(found);
  const isReadOnly = (fileAttributes(found.stat, stored) & FileAttribute.readonly) !== 0;
  if (isReadOnly && !ignoreReadonly) throw new StatusError(Status.ACCESS_DENIED);
  const rights = await rightsTo(folder, { path: found.path, descriptor }, askerOf(open));
  if ((rights & Access.delete) === 0) throw new StatusError(Status.ACCESS_DENIED);
}

/** Both names, always in one order, so that two renames do not wait for each other. */
async function reservations(folder: Folder, fromParent: number, from: DiskPath, target: Target): Promise<Reserve[]> {
  const { posix } = folder;
  const old: Reserve = {
    directoryId: await folder.fileId(fromParent, await statOf(posix, fromParent)),
    name: foldedName(lastNameOf(from)),
  };
  const next: Reserve = {
    directoryId: await folder.fileId(target.parentFd, await statOf(posix, target.parentFd)),
    name: foldedName(lastNameOf(target.path)),
  };
  const order = old.directoryId.compare(next.directoryId) || (old.name < next.name ? -1 : old.name > next.name ? 1 : 0);
  if (order === 0) return [old];
  return order < 0 ? [old, next] : [next, old];
}

/**
 * Holds names, in the order given, while it acts.
 * @throws LookAgain another server is at one of them, and does not come to an end
 */
export async function withReserved(
  request: Request,
  names: Reserve[],
  act: (hold: NameHold) => Promise<number>,
): Promise<number> {
  const { handles } = request.services;
  const held: Reserve[] = [];
  let elsewhere = false;
  try {
    for (const name of names) {
      const { outcome, value } = await handles.reserve(name, request);
      elsewhere ||= value?.elsewhere === true;
      if (outcome === Outcome.NAME_BUSY) throw new LookAgain('another server is at this name');
      if (outcome !== Outcome.GRANTED) return changeStatusOf(outcome);
      held.push(name);
    }
    return await act({ elsewhere });
  } finally {
    for (const name of held) handles.dropReservation(name);
  }
}

/**
 * A rename opens the directory that the file goes to, to add to it, and does not share deleting it (MS-FSA 2.1.5.15.12): who has
 * that directory open to delete or rename it, or does not share writing, is in the way.
 */
export async function withParentOpen(
  request: Request,
  open: OpenFile,
  target: Pick<Target, 'parentFd' | 'path'>,
  act: () => Promise<number>,
): Promise<number> {
  const { folder } = open;
  const { handles } = request.services;
  const { rights } = await directoryRights(folder, target.parentFd, askerOf(request));
  if ((rights & (open.isDirectory ? Access.addSubdirectory : Access.addFile)) === 0) return Status.ACCESS_DENIED;
  const record: OpenRecord = {
    ...onBehalfOf(open.record),
    fileId: await folder.fileId(target.parentFd, await statOf(folder.posix, target.parentFd)),
    path: recordPathOf(parentOf(target.path)),
    isDirectory: true,
    access: Access.addFile | Access.synchronize,
    shareAccess: ShareAccess.READ | ShareAccess.WRITE,
  };
  const { outcome, value } = await handles.open({ record, truncates: false, drop: undefined }, request);
  if (outcome !== Outcome.GRANTED || !value?.record) return changeStatusOf(outcome);
  const { fileId, openId } = value.record;
  try {
    return await act();
  } finally {
    await handles.close({ fileId, openId });
  }
}

async function decideAndRename(
  request: Request,
  open: OpenFile,
  move: { fromParent: number; from: DiskPath; target: Target },
): Promise<number> {
  const { folder } = open;
  const { fileId, openId } = open.record;
  const { handles } = request.services;
  const to = recordPathOf(move.target.path);
  const { outcome } = await handles.beginRename(
    {
      fileId,
      openId,
      share: open.record.share,
      from: recordPathOf(move.from),
      to,
      // Streams are beneath their file: it is not renamed while one is open.
      isDirectory: open.isDirectory || (await folder.volume.streams.list(fileId)).length > 0,
      replacesFileId: move.target.replaces,
    },
    request,
  );
  if (outcome !== Outcome.GRANTED) return changeStatusOf(outcome);
  let done = false;
  try {
    const replaces = move.target.replaces.length > 0 || isSameEntry(move.from, move.target.path);
    await move.target.replacing(async () => {
      const result = await folder.rename(
        move.fromParent,
        lastNameOf(move.from),
        move.target.parentFd,
        lastNameOf(move.target.path),
        replaces,
      );
      checked(result, 'renameat2');
    });
    done = true;
    open.file.path = move.target.path;
    open.record.path = to;
    const { changes } = request.services;
    if (replaces && move.target.replaces.length > 0) changes.removed(request.tree.share, move.target.path, false);
    changes.renamed(request.tree.share, open, move.from, move.target.path);
    if (open.writesThrough || request.tree.share.continuouslyAvailable) {
      await folder.syncDirectory(move.target.parentFd);
      await folder.syncDirectory(move.fromParent);
    }
    return Status.SUCCESS;
  } finally {
    await handles.endRename({ fileId, openId, done, to });
  }
}

/** Only the case of the name changes: on a volume without case both names are the same file. */
const isSameEntry = (from: DiskPath, to: DiskPath): boolean => foldedName(from) === foldedName(to);
