import { CreateOptions } from '../../../smb/constants.ts';
import { DispositionFlag, FileInfoClass, RenameFlag } from '../../../smb/fscc/constants.ts';
import type { Codec } from '../../../smb/fscc/fields.ts';
import {
  fileAllocationInformation,
  fileBasicInformation,
  fileDispositionInformation,
  fileDispositionInformationEx,
  fileEndOfFileInformation,
  fileLinkInformation,
  fileModeInformation,
  fileNameInformation,
  filePositionInformation,
  fileRenameInformation,
  fileRenameInformationEx,
} from '../../../smb/fscc/file-info.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import type { Request } from '../../session/request.ts';
import { setBasic } from './basic.ts';
import { setDisposition } from './disposition.ts';
import { setExtendedAttributes } from './extended-attributes.ts';
import { link } from './link.ts';
import { type RenameOptions, rename } from './rename.ts';
import { renameStream } from './rename-stream.ts';
import { setAllocation, setEndOfFile } from './size.ts';
import { storeAttachment } from './store-attachment.ts';

/** Bits of FileModeInformation that may be set (MS-FSCC 2.4.31). */
const SETTABLE_MODE =
  CreateOptions.WRITE_THROUGH |
  CreateOptions.SEQUENTIAL_ONLY |
  CreateOptions.SYNCHRONOUS_IO_ALERT |
  CreateOptions.SYNCHRONOUS_IO_NONALERT;

type Change = (request: Request, open: OpenFile, input: Buffer) => number | Promise<number>;

/** A file information class (MS-FSCC 2.4, MS-FSA 2.1.5.15). Gives the status. Throws PosixError. */
export async function setFile(request: Request, open: OpenFile, infoClass: number, input: Buffer): Promise<number> {
  const change = changes[infoClass];
  return change ? change(request, open, input) : Status.INVALID_INFO_CLASS;
}

/** Decodes the input for a change; an input that is too short is STATUS_INFO_LENGTH_MISMATCH. */
function of<T>(
  codec: Codec<T>,
  change: (request: Request, open: OpenFile, value: T) => number | Promise<number>,
): Change {
  return (request, open, input) =>
    input.length < codec.minimumSize ? Status.INFO_LENGTH_MISMATCH : change(request, open, codec.decode(input));
}

/** A name of its own, from the share's root on (MS-FSCC 2.4.42.2, MS-FSA 2.1.5.15.12). */
const namesTarget = (rootDirectory: bigint, fileName: string): boolean => rootDirectory === 0n && fileName !== '';

/** A stream is renamed beside its file, a file in its directory. */
function renameOf(request: Request, open: OpenFile, name: string, options: RenameOptions): Promise<number> {
  return open.base ? renameStream(request, open, open.base, name, options) : rename(request, open, name, options);
}

const changes: Record<number, Change> = {
  [FileInfoClass.basic]: of(fileBasicInformation, setBasic),
  [FileInfoClass.rename]: of(fileRenameInformation, (request, open, { rootDirectory, fileName, replaceIfExists }) =>
    namesTarget(rootDirectory, fileName)
      ? renameOf(request, open, fileName, { replace: replaceIfExists, ignoreReadonly: false })
      : Status.INVALID_PARAMETER,
  ),
  [FileInfoClass.renameEx]: of(fileRenameInformationEx, (request, open, { rootDirectory, fileName, flags }) => {
    if (!namesTarget(rootDirectory, fileName)) return Status.INVALID_PARAMETER;
    if ((flags & RenameFlag.posixSemantics) !== 0) return Status.NOT_SUPPORTED;
    return renameOf(request, open, fileName, {
      replace: (flags & RenameFlag.replaceIfExists) !== 0,
      ignoreReadonly: (flags & RenameFlag.ignoreReadonly) !== 0,
    });
  }),
  [FileInfoClass.link]: of(fileLinkInformation, (request, open, { rootDirectory, fileName, replaceIfExists }) =>
    namesTarget(rootDirectory, fileName)
      ? link(request, open, fileName, { replace: replaceIfExists, ignoreReadonly: false })
      : Status.INVALID_PARAMETER,
  ),
  [FileInfoClass.disposition]: of(fileDispositionInformation, (request, open, { deletePending }) =>
    setDisposition(request, open, { pending: deletePending, onClose: false, ignoreReadonly: false }),
  ),
  [FileInfoClass.dispositionEx]: of(fileDispositionInformationEx, (request, open, { flags }) => {
    if ((flags & DispositionFlag.posixSemantics) !== 0) return Status.NOT_SUPPORTED;
    return setDisposition(request, open, {
      pending: (flags & DispositionFlag.delete) !== 0,
      onClose: (flags & DispositionFlag.onClose) !== 0,
      ignoreReadonly: (flags & DispositionFlag.ignoreReadonly) !== 0,
    });
  }),
  [FileInfoClass.position]: of(filePositionInformation, (_request, open, { currentByteOffset }) => {
    open.attachment.position = currentByteOffset;
    return Status.SUCCESS;
  }),
  [FileInfoClass.mode]: of(fileModeInformation, (request, open, { mode }) => {
    if ((mode & ~SETTABLE_MODE) !== 0) return Status.INVALID_PARAMETER;
    open.attachment.mode = mode;
    return storeAttachment(request, open);
  }),
  [FileInfoClass.allocation]: of(fileAllocationInformation, (request, open, { allocationSize }) =>
    setAllocation(request, open, allocationSize),
  ),
  [FileInfoClass.endOfFile]: of(fileEndOfFileInformation, (request, open, { endOfFile }) =>
    setEndOfFile(request, open, endOfFile),
  ),
  [FileInfoClass.fullEa]: (_request, open, input) => setExtendedAttributes(open, input),
  [FileInfoClass.validDataLength]: () => Status.PRIVILEGE_NOT_HELD,
  // It takes the privilege to restore files, which nobody has (MS-FSA 2.1.5.15.13).
  [FileInfoClass.shortName]: of(fileNameInformation, (_request, open) =>
    open.mayAny(Access.writeData | Access.writeAttributes) ? Status.PRIVILEGE_NOT_HELD : Status.ACCESS_DENIED,
  ),
  // Of an InfoType of its own (MS-SMB2 3.3.5.21.1).
  [FileInfoClass.quota]: () => Status.NOT_SUPPORTED,
};
