import { FileAttribute } from '../../smb/fscc/constants.ts';
import type { FileFacts } from '../../smb/wire/create.ts';
import { changeTime, creationTime, fileAttributes, type StoredAttributes } from './attributes.ts';
import { isDirectory, type Stat } from './posix.ts';

const CLUSTER_SIZE = 4096;

/** What is answered about a file wherever times, sizes and attributes are asked for. */
export function factsOf(stat: Stat, stored: StoredAttributes): FileFacts {
  const attributes = fileAttributes(stat, stored);
  return {
    creationTime: creationTime(stat, stored),
    lastAccessTime: stat.accessTime,
    lastWriteTime: stat.writeTime,
    changeTime: changeTime(stat, stored),
    allocationSize: allocationSize(stat, stored, attributes),
    endOfFile: isDirectory(stat) ? 0 : stat.size,
    fileAttributes: attributes,
  };
}

/** File systems that allocate late say 0 until they write: clients expect what the data will take. */
function allocationSize(stat: Stat, stored: StoredAttributes, attributes: number): number {
  if (isDirectory(stat)) return 0;
  // Extended attributes that do not fit into the inode take a block, which is counted and is none of the data's.
  const ofAttributes = stored.hasDescriptor || stored.eaSize > 0 ? CLUSTER_SIZE : 0;
  const allocated = Math.max(0, stat.allocated - ofAttributes);
  if ((attributes & FileAttribute.sparse) !== 0) return allocated;
  return Math.max(allocated, Math.ceil(stat.size / CLUSTER_SIZE) * CLUSTER_SIZE);
}
