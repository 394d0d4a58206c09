import { FileAttributes } from '../../smb/constants.ts';
import { unixNsFromFiletime } from '../../smb/fscc/filetime.ts';

/** What is known of a file or directory. */
export interface FileStat {
  /** Bytes. */
  size: number;
  allocationSize: number;
  created: Date;
  accessed: Date;
  modified: Date;
  /** Of the metadata. */
  changed: Date;
  /** FileAttributes.* */
  attributes: number;
  isDirectory: boolean;
}

/** The facts as every SMB2 structure with times has them. */
export interface WireFacts {
  creationTime: bigint;
  lastAccessTime: bigint;
  lastWriteTime: bigint;
  changeTime: bigint;
  allocationSize: number;
  endOfFile: number;
  fileAttributes: number;
}

export function fileStat(facts: WireFacts): FileStat {
  return {
    size: facts.endOfFile,
    allocationSize: facts.allocationSize,
    created: dateOf(facts.creationTime),
    accessed: dateOf(facts.lastAccessTime),
    modified: dateOf(facts.lastWriteTime),
    changed: dateOf(facts.changeTime),
    attributes: facts.fileAttributes,
    isDirectory: (facts.fileAttributes & FileAttributes.DIRECTORY) !== 0,
  };
}

function dateOf(filetime: bigint): Date {
  return new Date(Number(unixNsFromFiletime(filetime) / 1_000_000n));
}
