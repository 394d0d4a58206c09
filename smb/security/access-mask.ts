/** Access mask bits (MS-SMB2 2.2.13.1). */
export const Access = {
  readData: 0x1,
  listDirectory: 0x1,
  writeData: 0x2,
  addFile: 0x2,
  appendData: 0x4,
  addSubdirectory: 0x4,
  readEa: 0x8,
  writeEa: 0x10,
  execute: 0x20,
  traverse: 0x20,
  deleteChild: 0x40,
  readAttributes: 0x80,
  writeAttributes: 0x100,
  delete: 0x10000,
  readControl: 0x20000,
  writeDac: 0x40000,
  writeOwner: 0x80000,
  synchronize: 0x100000,
  accessSystemSecurity: 0x1000000,
  maximumAllowed: 0x2000000,
  genericAll: 0x10000000,
  genericExecute: 0x20000000,
  genericWrite: 0x40000000,
  genericRead: 0x80000000,
} as const;

/** What the generic rights stand for on files and directories (MS-SMB2 2.2.13.1). */
export const FileAccess = { all: 0x1f01ff, read: 0x120089, write: 0x120116, execute: 0x1200a0 } as const;

/** Replaces the generic bits by what they stand for on files. MAXIMUM_ALLOWED stays. The result is not negative. */
export function mapGenericAccess(mask: number): number {
  let mapped = mask & 0x0fffffff;
  if (mask & Access.genericAll) mapped |= FileAccess.all;
  if (mask & Access.genericRead) mapped |= FileAccess.read;
  if (mask & Access.genericWrite) mapped |= FileAccess.write;
  if (mask & Access.genericExecute) mapped |= FileAccess.execute;
  return mapped >>> 0;
}
