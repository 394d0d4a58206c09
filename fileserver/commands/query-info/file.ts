import { Dialect } from '../../../smb/constants.ts';
import {
  directoryInfoClasses,
  FileInfoClass,
  localInfoClasses,
  setOnlyInfoClasses,
} from '../../../smb/fscc/constants.ts';
import {
  fileAccessInformation,
  fileAlignmentInformation,
  fileAllInformation,
  fileAlternateNameInformation,
  fileAttributeTagInformation,
  fileBasicInformation,
  fileCompressionInformation,
  fileEaInformation,
  fileIdInformation,
  fileInternalInformation,
  fileModeInformation,
  fileNameInformation,
  fileNetworkOpenInformation,
  fileNormalizedNameInformation,
  filePositionInformation,
  fileStandardInformation,
  fileStandardLinkInformation,
  fileStreamInformation,
} from '../../../smb/fscc/file-info.ts';
import { CompressionFormat } from '../../../smb/fscc/fsctl.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { FileFacts } from '../../../smb/wire/create.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { statOfOpen } from '../../opens/stat.ts';
import { factsOf } from '../../volume/facts.ts';
import { lastNameOf } from '../../volume/folder.ts';
import { splitStreamPath, wireName, wirePath } from '../../volume/names.ts';
import type { Stat } from '../../volume/posix.ts';
import { shortName } from '../../volume/short-name.ts';
import { type Answer, encoded } from './answer.ts';
import { listStreams } from './streams.ts';

/** Classes that tell about the file's attributes: the open must have FILE_READ_ATTRIBUTES (MS-FSA 2.1.5.12). */
const needsReadAttributes = new Set<number>([
  FileInfoClass.basic,
  FileInfoClass.all,
  FileInfoClass.networkOpen,
  FileInfoClass.attributeTag,
]);

/** Classes that MS-FSCC 2.4 has, but QUERY_INFO of a file has not (MS-SMB2 2.2.37, 3.3.5.20.1). */
const elsewhere = new Set<number>([
  ...directoryInfoClasses,
  ...setOnlyInfoClasses,
  ...localInfoClasses,
  // Of an InfoType of its own.
  FileInfoClass.quota,
]);

const NOT_COMPRESSED = {
  compressionFormat: CompressionFormat.none,
  compressionUnitShift: 0,
  chunkShift: 0,
  clusterShift: 0,
};
/** As FSCTL_GET_COMPRESSION has it. Sizes are powers of two: btrfs compresses 128 KiB at a time, LZNT1 has chunks of 4 KiB. */
const COMPRESSED = {
  compressionFormat: CompressionFormat.lznt1,
  compressionUnitShift: 17,
  chunkShift: 12,
  clusterShift: 12,
};

interface Subject {
  open: OpenFile;
  stat: Stat;
  facts: FileFacts;
  eaSize: number;
}

/** A file information class (MS-FSCC 2.4, MS-FSA 2.1.5.12). Throws PosixError. */
export async function queryFile(open: OpenFile, infoClass: number): Promise<Answer> {
  if (infoClass === FileInfoClass.stream) return encoded(fileStreamInformation, await listStreams(open));
  const answer = answers[infoClass];
  if (!answer) return { status: elsewhere.has(infoClass) ? Status.NOT_SUPPORTED : Status.INVALID_INFO_CLASS };
  if (needsReadAttributes.has(infoClass) && !open.may(Access.readAttributes)) return { status: Status.ACCESS_DENIED };
  const stat = await statOfOpen(open);
  const stored = await open.folder.attributes(open.metadataFd);
  return answer({ open, stat, facts: factsOf(stat, stored), eaSize: stored.eaSize });
}

const basic = ({ facts }: Subject) => ({ ...facts });
const standard = ({ open, stat, facts }: Subject) => ({
  ...facts,
  numberOfLinks: open.file.deletePending ? Math.max(0, stat.links - 1) : open.isDirectory ? 1 : stat.links,
  deletePending: open.file.deletePending,
  directory: open.isDirectory,
});
const internal = ({ stat }: Subject) => ({ indexNumber: stat.inode });
const access = ({ open }: Subject) => ({ accessFlags: open.record.access });
const position = ({ open }: Subject) => ({ currentByteOffset: open.attachment.position });
const mode = ({ open }: Subject) => ({ mode: open.attachment.mode });
const name = ({ open }: Subject) => ({ fileName: `\\${wirePath(open.path)}` });

const answers: Record<number, (subject: Subject) => Answer> = {
  [FileInfoClass.basic]: (subject) => encoded(fileBasicInformation, basic(subject)),
  [FileInfoClass.standard]: (subject) => encoded(fileStandardInformation, standard(subject)),
  [FileInfoClass.internal]: (subject) => encoded(fileInternalInformation, internal(subject)),
  [FileInfoClass.ea]: ({ eaSize }) => encoded(fileEaInformation, { eaSize }),
  [FileInfoClass.access]: (subject) => encoded(fileAccessInformation, access(subject)),
  [FileInfoClass.name]: (subject) => encoded(fileNameInformation, name(subject)),
  [FileInfoClass.alternateName]: ({ open }) =>
    open.path === '.'
      ? { status: Status.OBJECT_NAME_NOT_FOUND }
      : encoded(fileAlternateNameInformation, {
          fileName: shortName(wireName(lastNameOf(splitStreamPath(open.path).file))),
        }),
  [FileInfoClass.position]: (subject) => encoded(filePositionInformation, position(subject)),
  [FileInfoClass.mode]: (subject) => encoded(fileModeInformation, mode(subject)),
  [FileInfoClass.alignment]: () => encoded(fileAlignmentInformation, { alignmentRequirement: 0 }),
  [FileInfoClass.all]: (subject) =>
    encoded(fileAllInformation, {
      basic: basic(subject),
      standard: standard(subject),
      internal: internal(subject),
      ea: { eaSize: subject.eaSize },
      access: access(subject),
      position: position(subject),
      mode: mode(subject),
      alignment: { alignmentRequirement: 0 },
      name: name(subject),
    }),
  [FileInfoClass.networkOpen]: ({ facts }) => encoded(fileNetworkOpenInformation, { ...facts }),
  [FileInfoClass.attributeTag]: ({ facts }) =>
    encoded(fileAttributeTagInformation, { fileAttributes: facts.fileAttributes, reparseTag: 0 }),
  // MS-FSA 2.1.5.12.8; allocated is what the volume tells, which for btrfs is the data before it was compressed.
  [FileInfoClass.compression]: ({ stat, facts }) =>
    encoded(fileCompressionInformation, {
      compressedFileSize: facts.allocationSize,
      ...(stat.isCompressed ? COMPRESSED : NOT_COMPRESSED),
    }),
  // MS-SMB2 3.3.5.20.1: of dialect 3.1.1.
  [FileInfoClass.normalizedName]: ({ open }) =>
    open.session && open.session.connection.dialect < Dialect.SMB_3_1_1
      ? { status: Status.NOT_SUPPORTED }
      : encoded(fileNormalizedNameInformation, { fileName: wirePath(open.path) }),
  [FileInfoClass.standardLink]: (subject) => {
    const { numberOfLinks, deletePending, directory } = standard(subject);
    return encoded(fileStandardLinkInformation, {
      numberOfAccessibleLinks: numberOfLinks,
      totalNumberOfLinks: subject.stat.links,
      deletePending,
      directory,
    });
  },
  [FileInfoClass.id]: ({ open, stat }) => {
    const fileId = Buffer.alloc(16);
    fileId.writeBigUInt64LE(stat.inode, 0);
    return encoded(fileIdInformation, { volumeSerialNumber: open.folder.volume.id.readBigUInt64LE(0), fileId });
  },
};
