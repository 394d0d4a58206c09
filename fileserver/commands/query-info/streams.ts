import type { OpenFile } from '../../opens/open-file.ts';
import { factsOf } from '../../volume/facts.ts';
import { isDirectory, type Stat } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';

/** As FileStreamInformation has it; sizes in bytes. */
export interface ListedStream {
  streamName: string;
  streamSize: number;
  streamAllocationSize: number;
}

/**
 * The streams of an open's file (MS-FSA 2.1.5.12.27): its data, which a directory has not, and the alternate ones. Throws
 * PosixError.
 */
export async function listStreams(open: OpenFile): Promise<ListedStream[]> {
  const { folder } = open;
  const { posix, volume } = folder;
  const fd = open.metadataFd;
  const stat = await statOf(posix, fd);
  const stored = await folder.attributes(fd);
  const listed: ListedStream[] = [];
  const list = (name: string, of: Stat) => {
    const { endOfFile, allocationSize } = factsOf(of, stored);
    listed.push({ streamName: `:${name}:$DATA`, streamSize: endOfFile, streamAllocationSize: allocationSize });
  };
  if (!isDirectory(stat)) list('', stat);
  const fileId = open.base?.pin.fileId ?? open.record.fileId;
  for (const name of await volume.streams.list(fileId)) {
    const found = await volume.streams.find(fileId, name);
    if (found === undefined) continue;
    try {
      list(name, await statOf(posix, found.fd));
    } finally {
      await posix.close(found.fd);
    }
  }
  return listed;
}
