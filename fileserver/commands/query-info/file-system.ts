import { FsAttribute, FsDevice, FsInfoClass, localFsInfoClasses, SectorSizeFlag } from '../../../smb/fscc/constants.ts';
import {
  fileFsAttributeInformation,
  fileFsControlInformation,
  fileFsDeviceInformation,
  fileFsFullSizeInformation,
  fileFsObjectIdInformation,
  fileFsSectorSizeInformation,
  fileFsSizeInformation,
  fileFsVolumeInformation,
} from '../../../smb/fscc/fs-info.ts';
import { maximumComponentLength } from '../../../smb/fscc/names.ts';
import { Status } from '../../../smb/status.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Answer, encoded } from './answer.ts';

const BYTES_PER_SECTOR = 512;
const SECTORS_PER_UNIT = 8;
const UNIT_SIZE = BYTES_PER_SECTOR * SECTORS_PER_UNIT;
/** 2^64 - 1: no quota (MS-FSCC 2.5.2). */
const NO_LIMIT = 0xffff_ffff_ffff_ffffn;
const PHYSICAL_SECTOR_SIZE = 4096;

const unitsOf = (bytes: number): number => Math.floor(bytes / UNIT_SIZE);

/** A file system information class (MS-FSCC 2.5). Throws PosixError. */
export async function queryFileSystem(open: OpenFile, infoClass: number): Promise<Answer> {
  const { volume } = open.folder;
  switch (infoClass) {
    case FsInfoClass.volume:
      return encoded(fileFsVolumeInformation, {
        volumeCreationTime: volume.createdAt,
        volumeSerialNumber: volume.id.readUInt32LE(0),
        supportsObjects: false,
        volumeLabel: open.record.share.slice(0, 32),
      });
    case FsInfoClass.size: {
      const space = await volume.space();
      return encoded(fileFsSizeInformation, {
        totalAllocationUnits: unitsOf(space.total),
        availableAllocationUnits: unitsOf(space.available),
        sectorsPerAllocationUnit: SECTORS_PER_UNIT,
        bytesPerSector: BYTES_PER_SECTOR,
      });
    }
    case FsInfoClass.fullSize: {
      const space = await volume.space();
      return encoded(fileFsFullSizeInformation, {
        totalAllocationUnits: unitsOf(space.total),
        callerAvailableAllocationUnits: unitsOf(space.available),
        actualAvailableAllocationUnits: unitsOf(space.free),
        sectorsPerAllocationUnit: SECTORS_PER_UNIT,
        bytesPerSector: BYTES_PER_SECTOR,
      });
    }
    case FsInfoClass.device:
      return encoded(fileFsDeviceInformation, { deviceType: FsDevice.disk, characteristics: FsDevice.mounted });
    case FsInfoClass.attribute:
      return encoded(fileFsAttributeInformation, {
        fileSystemAttributes:
          FsAttribute.caseSensitiveSearch |
          FsAttribute.casePreservedNames |
          FsAttribute.unicodeOnDisk |
          FsAttribute.persistentAcls |
          FsAttribute.namedStreams |
          FsAttribute.supportsHardLinks |
          FsAttribute.supportsExtendedAttributes |
          FsAttribute.supportsSparseFiles |
          FsAttribute.supportsObjectIds |
          (volume.abilities.clonesExtents ? FsAttribute.supportsBlockRefcounting : 0) |
          (volume.abilities.compresses ? FsAttribute.fileCompression : 0),
        maximumComponentNameLength: maximumComponentLength,
        // What programs look for before they use a share like a local disk.
        fileSystemName: 'NTFS',
      });
    case FsInfoClass.objectId:
      return encoded(fileFsObjectIdInformation, {
        objectId: Buffer.concat([volume.id, Buffer.alloc(8)]),
        extendedInfo: Buffer.alloc(48),
      });
    case FsInfoClass.sectorSize:
      return encoded(fileFsSectorSizeInformation, {
        logicalBytesPerSector: BYTES_PER_SECTOR,
        physicalBytesPerSectorForAtomicity: PHYSICAL_SECTOR_SIZE,
        physicalBytesPerSectorForPerformance: PHYSICAL_SECTOR_SIZE,
        effectivePhysicalBytesPerSectorForAtomicity: PHYSICAL_SECTOR_SIZE,
        // File systems on local disks give back what FSCTL_FILE_LEVEL_TRIM names.
        flags:
          SectorSizeFlag.alignedDevice |
          SectorSizeFlag.partitionAlignedOnDevice |
          (volume.posix.blocking ? 0 : SectorSizeFlag.trimEnabled),
        byteOffsetForSectorAlignment: 0,
        byteOffsetForPartitionAlignment: 0,
      });
    case FsInfoClass.control:
      // Quotas are the volume's own affair: here there are none.
      return encoded(fileFsControlInformation, {
        freeSpaceStartFiltering: 0n,
        freeSpaceThreshold: 0n,
        freeSpaceStopFiltering: 0n,
        defaultQuotaThreshold: NO_LIMIT,
        defaultQuotaLimit: NO_LIMIT,
        fileSystemControlFlags: 0,
      });
    default:
      return { status: localFsInfoClasses.has(infoClass) ? Status.NOT_SUPPORTED : Status.INVALID_INFO_CLASS };
  }
}
