import type { OpenFile } from '../../opens/open-file.ts';
import type { SharedFile } from '../../opens/shared-file.ts';
import type { StoredAttributes } from '../../volume/attributes.ts';
import { checked, O } from '../../volume/posix.ts';

/** Changes of one file's metadata in this process run one after the other: each reads what it changes. */
const turns = new WeakMap<SharedFile, Promise<unknown>>();

/** Reads the file's attributes, has them changed and stores them; undefined: nothing is to be stored. Throws PosixError. */
export function changeMetadata(
  open: OpenFile,
  change: (stored: StoredAttributes) => Promise<StoredAttributes | undefined> | StoredAttributes | undefined,
): Promise<void> {
  const before = turns.get(open.file) ?? Promise.resolve();
  const mine = before.then(async () => {
    const { folder, metadataFd } = open;
    const next = await change(await folder.attributes(metadataFd));
    if (next !== undefined) await folder.setAttributes(metadataFd, next, open.writesThrough);
    if (open.writesThrough) await syncMetadata(open);
  });
  turns.set(
    open.file,
    mine.catch(() => {}),
  );
  return mine;
}

/** Makes stable what was set (invariant 5 of the design). */
async function syncMetadata(open: OpenFile): Promise<void> {
  const { fd, metadataFd } = open;
  const { posix } = open.folder;
  const isOpenForIo = fd === metadataFd && !open.isDirectory && (open.isWritable || open.isReadable);
  const syncable = isOpenForIo ? fd : checked(await posix.reopen(metadataFd, O.RDONLY), 'open');
  try {
    checked(await posix.sync(syncable), 'fsync');
  } finally {
    if (syncable !== fd) await posix.close(syncable);
  }
}
