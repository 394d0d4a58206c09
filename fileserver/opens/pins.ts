import { type OpenRecord, Outcome } from '../../proto/generated/handles.ts';
import { ShareAccess } from '../../smb/constants.ts';
import { Access } from '../../smb/security/access-mask.ts';
import type { Handles } from '../handles.ts';
import type { Folder } from '../volume/folder.ts';
import { splitStreamPath, streamPath } from '../volume/names.ts';
import { statOf } from '../volume/volume.ts';
import { diskPathOf, recordPathOf } from './adoption.ts';
import { onBehalfOf } from './on-behalf-of.ts';

/**
 * A bit of the access mask that no client can ask for (reserved in MS-SMB2 2.2.13.1): in the table it keeps the file from being
 * opened to be deleted.
 */
const KEEPS_FILE = 0x80_0000;

const ARBITRATED = Access.readData | Access.execute | Access.writeData | Access.appendData | Access.delete;

/**
 * The open of a file that stands for one of its streams (MS-FSA 2.1.5.1.2.2): streams have share modes of their own, but the
 * file is not removed while one is open, and not opened to be deleted while one is that does not share that.
 */
export function pinOf(stream: OpenRecord, file: { fileId: Buffer; isDirectory: boolean }): OpenRecord {
  const keeps = (stream.access & ARBITRATED) !== 0 && (stream.shareAccess & ShareAccess.DELETE) === 0;
  return {
    ...onBehalfOf(stream),
    fileId: file.fileId,
    path: recordPathOf(splitStreamPath(stream.path).file),
    isDirectory: file.isDirectory,
    access: keeps ? KEEPS_FILE : 0,
    shareAccess: ShareAccess.READ | ShareAccess.WRITE | ShareAccess.DELETE,
  };
}

/**
 * The file of `record` is overwritten: its streams go, each with its last open (MS-FSA 2.1.5.1.2.1). GRANTED, or why one of them
 * cannot go; then all stay. Throws PosixError.
 */
export async function removeStreams(
  handles: Handles,
  folder: Folder,
  record: OpenRecord,
  sync: boolean,
): Promise<Outcome> {
  const held: OpenRecord[] = [];
  let spared = true;
  try {
    const outcome = await openAllToDelete(handles, folder, record, held);
    spared = outcome !== Outcome.GRANTED;
    return outcome;
  } finally {
    for (const stream of held) {
      const { fileId, openId } = stream;
      if (spared) await handles.setDeletePending({ fileId, openId, pending: false, onClose: true });
      await release(handles, folder, stream, sync);
    }
  }
}

/** Adds to `held` what the table granted. GRANTED, or why it did not grant the next. */
async function openAllToDelete(
  handles: Handles,
  folder: Folder,
  record: OpenRecord,
  held: OpenRecord[],
): Promise<Outcome> {
  const { streams } = folder.volume;
  for (const name of await streams.list(record.fileId)) {
    const found = await streams.find(record.fileId, name);
    if (found === undefined) continue;
    const asked: OpenRecord = {
      ...onBehalfOf(record),
      fileId: await idOf(folder, found.fd),
      path: streamPath(diskPathOf(record.path), found.name),
      isDirectory: false,
      access: Access.delete,
      shareAccess: ShareAccess.READ | ShareAccess.WRITE | ShareAccess.DELETE,
      deleteOnClose: true,
    };
    const { outcome, value } = await handles.open({ record: asked, truncates: true, drop: undefined });
    // One that is on its way out already is none of ours.
    if (outcome === Outcome.DELETE_PENDING) continue;
    if (outcome !== Outcome.GRANTED || !value?.record) return outcome;
    held.push(value.record);
  }
  return Outcome.GRANTED;
}

/** Ends an open that the server had; where it was the last one of a file or stream that is to be deleted, that goes. */
export async function release(handles: Handles, folder: Folder, open: OpenRecord, sync: boolean): Promise<void> {
  const { fileId, openId } = open;
  const { value } = await handles.close({ fileId, openId });
  if (!value?.remove) return;
  await folder.removeIfSame(diskPathOf(value.path || open.path), fileId, sync);
  await handles.fileGone({ fileId, ahead: false });
}

async function idOf(folder: Folder, fd: number): Promise<Buffer> {
  try {
    return await folder.fileId(fd, await statOf(folder.posix, fd));
  } finally {
    await folder.posix.close(fd);
  }
}
