import { align4, readUtf16, requireBytes } from './fields.ts';
import { nextEntry } from './file-info.ts';

/** One change below a watched directory (FILE_NOTIFY_INFORMATION, MS-FSCC 2.7.1). */
export interface NotifyEntry {
  /** NotifyAction. */
  action: number;
  /** Path below the watched directory, `\` between its components. */
  fileName: string;
}

/** Encodes the changes, or undefined when they take more than `maximumSize` bytes: that is STATUS_NOTIFY_ENUM_DIR. */
export function encodeNotifyList(entries: readonly NotifyEntry[], maximumSize: number): Buffer | undefined {
  const size = entries.reduce((sum, entry) => align4(sum) + 12 + 2 * entry.fileName.length, 0);
  if (size > maximumSize) return undefined;
  const buffer = Buffer.alloc(size);
  let at = 0;
  for (const [index, entry] of entries.entries()) {
    const used = align4(12 + 2 * entry.fileName.length);
    buffer.writeUInt32LE(index === entries.length - 1 ? 0 : used, at);
    buffer.writeUInt32LE(entry.action, at + 4);
    buffer.writeUInt32LE(2 * entry.fileName.length, at + 8);
    buffer.write(entry.fileName, at + 12, 'utf16le');
    at += used;
  }
  return buffer;
}

/** Decodes a CHANGE_NOTIFY output buffer. Throws WireError. */
export function decodeNotifyList(buffer: Buffer): NotifyEntry[] {
  const entries: NotifyEntry[] = [];
  if (buffer.length === 0) return entries;
  for (let at = 0; ; ) {
    requireBytes(buffer, at, 12, 'FILE_NOTIFY_INFORMATION');
    const fileName = readUtf16(buffer, at + 12, buffer.readUInt32LE(at + 8), 'FILE_NOTIFY_INFORMATION');
    entries.push({ action: buffer.readUInt32LE(at + 4), fileName });
    const next = nextEntry(buffer, at, 12, 'FILE_NOTIFY_INFORMATION');
    if (next === 0) return entries;
    at = next;
  }
}
