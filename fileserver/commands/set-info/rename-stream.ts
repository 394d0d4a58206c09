import { Outcome, type Reserve } from '../../../proto/generated/handles.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import { recordPathOf } from '../../opens/adoption.ts';
import type { OpenFile, StreamBase } from '../../opens/open-file.ts';
import { type Request, StatusError } from '../../session/request.ts';
import { foldedName, parseStreamName, parseWirePath, splitStreamPath, streamPath } from '../../volume/names.ts';
import { checked } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { changeStatusOf } from '../change-status.ts';
import { statusOfPathProblem } from '../path-status.ts';
import { lookingAgain, type RenameOptions, withParentOpen, withReserved } from './rename.ts';

const NOTHING = Buffer.alloc(0);

/**
 * FileRenameInformation on an alternate data stream (MS-FSA 2.1.5.15.11.1): it gets another name, and stays its file's. Gives
 * the status; throws PosixError and StatusError.
 */
export async function renameStream(
  request: Request,
  open: OpenFile,
  base: StreamBase,
  wireName: string,
  { replace }: RenameOptions,
): Promise<number> {
  if (!open.may(Access.delete)) return Status.ACCESS_DENIED;
  if (!wireName.startsWith(':')) return notAStream(request, open, wireName);
  const parsed = parseStreamName(wireName);
  if (parsed === undefined) return Status.INVALID_PARAMETER;
  if (parsed.type === 'index') return Status.OBJECT_TYPE_MISMATCH;
  // A stream that becomes the file's data would become another file to the table, under the hands of those who have it open.
  if (parsed.stream === undefined) return base.pin.isDirectory ? Status.INVALID_PARAMETER : Status.NOT_SUPPORTED;
  const { stream: from } = splitStreamPath(open.path);
  if (from === undefined || from === parsed.stream) return Status.SUCCESS;
  const to = parsed.stream;
  const names = [...new Set([foldedName(from), foldedName(to)])].sort();
  const reserves = names.map((name): Reserve => ({ directoryId: base.pin.fileId, name: `:${name}` }));
  return lookingAgain(() =>
    withReserved(request, reserves, async () => {
      const replaces = await targetOf(open, base, to, replace);
      return decideAndRename(request, open, base, { from, to, replaces });
    }),
  );
}

/** A path to somewhere else: the directory that it leads to is opened first (2.1.5.15.11), then a stream cannot be there. */
async function notAStream(request: Request, open: OpenFile, wireName: string): Promise<number> {
  const path = parseWirePath(wireName.replace(/^\\/, ''));
  if (typeof path === 'string') return statusOfPathProblem(path);
  const { folder } = open;
  const parent = await folder.lookup(path.names.slice(0, -1));
  if (parent.kind === 'missing') await folder.posix.close(parent.parentFd);
  if (parent.kind !== 'found') return Status.OBJECT_PATH_NOT_FOUND;
  try {
    const target = { parentFd: parent.fd, path: `${parent.path}/${path.names.at(-1) ?? ''}`, replaces: NOTHING };
    return await withParentOpen(request, open, target, () => Promise.resolve(Status.INVALID_PARAMETER));
  } finally {
    await folder.posix.close(parent.fd);
  }
}

/** The file id of a stream that would be replaced, or empty. Throws StatusError. */
async function targetOf(open: OpenFile, base: StreamBase, to: string, replace: boolean): Promise<Buffer> {
  const { folder } = open;
  const found = await folder.volume.streams.find(base.pin.fileId, to);
  if (found === undefined) return NOTHING;
  try {
    const stat = await statOf(folder.posix, found.fd);
    const fileId = await folder.fileId(found.fd, stat);
    if (fileId.equals(open.record.fileId)) return NOTHING;
    if (!replace) throw new StatusError(Status.OBJECT_NAME_COLLISION);
    if (stat.size > 0) throw new StatusError(Status.INVALID_PARAMETER);
    return fileId;
  } finally {
    await folder.posix.close(found.fd);
  }
}

async function decideAndRename(
  request: Request,
  open: OpenFile,
  base: StreamBase,
  { from, to, replaces }: { from: string; to: string; replaces: Buffer },
): Promise<number> {
  const { handles } = request.services;
  const { fileId, openId, share } = open.record;
  const path = streamPath(splitStreamPath(open.path).file, to);
  const { outcome } = await handles.beginRename(
    {
      fileId,
      openId,
      share,
      from: recordPathOf(open.path),
      to: recordPathOf(path),
      isDirectory: false,
      replacesFileId: replaces,
    },
    request,
  );
  if (outcome !== Outcome.GRANTED) return changeStatusOf(outcome);
  let done = false;
  try {
    const sameName = foldedName(from) === foldedName(to);
    const how = { replace: replaces.length > 0 || sameName, sync: open.writesThrough };
    checked(await open.folder.volume.streams.rename(base.pin.fileId, from, to, how), 'renameat2');
    done = true;
    request.services.changes.renamed(request.tree.share, open, open.path, path);
    open.file.path = path;
    open.record.path = recordPathOf(path);
    return Status.SUCCESS;
  } finally {
    await handles.endRename({ fileId, openId, done, to: recordPathOf(path) });
  }
}
