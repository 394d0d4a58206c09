/** File information classes (MS-FSCC 2.4). */
export const FileInfoClass = {
  directory: 1,
  fullDirectory: 2,
  bothDirectory: 3,
  basic: 4,
  standard: 5,
  internal: 6,
  ea: 7,
  access: 8,
  name: 9,
  rename: 10,
  link: 11,
  names: 12,
  disposition: 13,
  position: 14,
  fullEa: 15,
  mode: 16,
  alignment: 17,
  all: 18,
  allocation: 19,
  endOfFile: 20,
  alternateName: 21,
  stream: 22,
  pipe: 23,
  pipeLocal: 24,
  pipeRemote: 25,
  mailslotQuery: 26,
  mailslotSet: 27,
  compression: 28,
  objectId: 29,
  moveCluster: 31,
  quota: 32,
  reparsePoint: 33,
  networkOpen: 34,
  attributeTag: 35,
  tracking: 36,
  idBothDirectory: 37,
  idFullDirectory: 38,
  validDataLength: 39,
  shortName: 40,
  sfioReserve: 44,
  sfioVolume: 45,
  hardLink: 46,
  normalizedName: 48,
  idGlobalTxDirectory: 50,
  standardLink: 54,
  id: 59,
  idExtdDirectory: 60,
  idExtdBothDirectory: 63,
  dispositionEx: 64,
  renameEx: 65,
  id64ExtdDirectory: 78,
  id64ExtdBothDirectory: 79,
  idAllExtdDirectory: 80,
  idAllExtdBothDirectory: 81,
} as const;

/** Those that QUERY_DIRECTORY is to name (MS-SMB2 2.2.33), whether this server has them or not. */
export const directoryInfoClasses: ReadonlySet<number> = new Set([
  FileInfoClass.directory,
  FileInfoClass.fullDirectory,
  FileInfoClass.bothDirectory,
  FileInfoClass.names,
  FileInfoClass.idBothDirectory,
  FileInfoClass.idFullDirectory,
  FileInfoClass.idExtdDirectory,
  FileInfoClass.idExtdBothDirectory,
  FileInfoClass.id64ExtdDirectory,
  FileInfoClass.id64ExtdBothDirectory,
  FileInfoClass.idAllExtdDirectory,
  FileInfoClass.idAllExtdBothDirectory,
]);

/** Those that only SET_INFO has (MS-FSCC 2.4: Set). */
export const setOnlyInfoClasses: ReadonlySet<number> = new Set([
  FileInfoClass.rename,
  FileInfoClass.link,
  FileInfoClass.disposition,
  FileInfoClass.allocation,
  FileInfoClass.endOfFile,
  FileInfoClass.validDataLength,
  FileInfoClass.shortName,
  FileInfoClass.dispositionEx,
  FileInfoClass.renameEx,
]);

/** Those that never cross the wire (MS-FSCC 2.4: LOCAL), but for the names and link counts that QUERY_INFO is answered with. */
export const localInfoClasses: ReadonlySet<number> = new Set([
  FileInfoClass.mailslotQuery,
  FileInfoClass.mailslotSet,
  FileInfoClass.objectId,
  FileInfoClass.moveCluster,
  FileInfoClass.reparsePoint,
  FileInfoClass.tracking,
  FileInfoClass.sfioReserve,
  FileInfoClass.sfioVolume,
  FileInfoClass.hardLink,
  FileInfoClass.idGlobalTxDirectory,
]);

/** File system information classes (MS-FSCC 2.5). */
export const FsInfoClass = {
  volume: 1,
  label: 2,
  size: 3,
  device: 4,
  attribute: 5,
  control: 6,
  fullSize: 7,
  objectId: 8,
  driverPath: 9,
  volumeFlags: 10,
  sectorSize: 11,
} as const;

/** Those that never cross the wire (MS-FSCC 2.5: LOCAL): STATUS_NOT_SUPPORTED (MS-SMB2 3.3.5.20.2, 3.3.5.21.2). */
export const localFsInfoClasses: ReadonlySet<number> = new Set([
  FsInfoClass.label,
  FsInfoClass.driverPath,
  FsInfoClass.volumeFlags,
]);

/** FILE_ATTRIBUTE_* (MS-FSCC 2.6). */
export const FileAttribute = {
  readonly: 0x1,
  hidden: 0x2,
  system: 0x4,
  directory: 0x10,
  archive: 0x20,
  normal: 0x80,
  temporary: 0x100,
  sparse: 0x200,
  reparsePoint: 0x400,
  compressed: 0x800,
  offline: 0x1000,
  notContentIndexed: 0x2000,
  encrypted: 0x4000,
  integrityStream: 0x8000,
  noScrubData: 0x20000,
} as const;

/** Reparse tags (MS-FSCC 2.1.2.1). */
export const ReparseTag = { symlink: 0xa000000c, mountPoint: 0xa0000003, nfs: 0x80000014 } as const;

/** FileSystemAttributes of FileFsAttributeInformation (MS-FSCC 2.5.1). */
export const FsAttribute = {
  caseSensitiveSearch: 0x1,
  casePreservedNames: 0x2,
  unicodeOnDisk: 0x4,
  persistentAcls: 0x8,
  fileCompression: 0x10,
  volumeQuotas: 0x20,
  supportsSparseFiles: 0x40,
  supportsReparsePoints: 0x80,
  supportsObjectIds: 0x10000,
  supportsEncryption: 0x20000,
  namedStreams: 0x40000,
  readOnlyVolume: 0x80000,
  supportsHardLinks: 0x400000,
  supportsExtendedAttributes: 0x800000,
  supportsOpenByFileId: 0x1000000,
  supportsBlockRefcounting: 0x8000000,
} as const;

/** DeviceType and Characteristics of FileFsDeviceInformation (MS-FSCC 2.5.10). */
export const FsDevice = { disk: 0x7, namedPipe: 0x11, mounted: 0x20, remote: 0x10 } as const;

/** Flags of FileFsSectorSizeInformation (MS-FSCC 2.5.8). */
export const SectorSizeFlag = {
  alignedDevice: 0x1,
  partitionAlignedOnDevice: 0x2,
  noSeekPenalty: 0x4,
  trimEnabled: 0x8,
} as const;

/** Flags of FileDispositionInformationEx (MS-FSCC 2.4.12). */
export const DispositionFlag = {
  delete: 0x1,
  posixSemantics: 0x2,
  forceImageSectionCheck: 0x4,
  onClose: 0x8,
  ignoreReadonly: 0x10,
} as const;

/** Flags of FileRenameInformationEx (MS-FSCC 2.4.43). */
export const RenameFlag = { replaceIfExists: 0x1, posixSemantics: 0x2, ignoreReadonly: 0x40 } as const;

/** Flags of FILE_FULL_EA_INFORMATION (MS-FSCC 2.4.16). */
export const EaFlag = { needEa: 0x80 } as const;

/** Action of FILE_NOTIFY_INFORMATION (MS-FSCC 2.7.1). */
export const NotifyAction = {
  added: 1,
  removed: 2,
  modified: 3,
  renamedOldName: 4,
  renamedNewName: 5,
  addedStream: 6,
  removedStream: 7,
  modifiedStream: 8,
} as const;

/** CompletionFilter of CHANGE_NOTIFY (MS-SMB2 2.2.35). */
export const NotifyFilter = {
  fileName: 0x1,
  dirName: 0x2,
  attributes: 0x4,
  size: 0x8,
  lastWrite: 0x10,
  lastAccess: 0x20,
  creation: 0x40,
  ea: 0x80,
  security: 0x100,
  streamName: 0x200,
  streamSize: 0x400,
  streamWrite: 0x800,
} as const;
