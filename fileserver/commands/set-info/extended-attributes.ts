import {
  changedEaList,
  checkEaList,
  eaSizeOf,
  type FullEa,
  fileFullEaInformation,
  MAXIMUM_EA_SIZE,
} from '../../../smb/fscc/ea.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import { WireError } from '../../../smb/wire/errors.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { StatusError } from '../../session/request.ts';
import { changeMetadata } from './metadata.ts';

/** FileFullEaInformation (MS-FSA 2.1.5.15.5). Gives the status; throws PosixError and StatusError. */
export async function setExtendedAttributes(open: OpenFile, input: Buffer): Promise<number> {
  if (!open.may(Access.writeEa)) return Status.ACCESS_DENIED;
  const changes = decodeEaList(input);
  const { folder, metadataFd } = open;
  await changeMetadata(open, async (stored) => {
    const before = stored.eaSize > 0 ? await folder.extendedAttributes(metadataFd) : [];
    const after = changedEaList(before, changes);
    const eaSize = eaSizeOf(after);
    if (eaSize > MAXIMUM_EA_SIZE) throw new StatusError(Status.EA_TOO_LARGE);
    if (after.length > 0 || before.length > 0) {
      await folder.setExtendedAttributes(metadataFd, after, open.writesThrough);
    }
    return { ...stored, eaSize, changeTime: open.attachment.keepsChangeTime ? stored.changeTime : undefined };
  });
  return Status.SUCCESS;
}

/** A list that a client brings, checked. Throws StatusError. */
export function decodeEaList(input: Buffer): FullEa[] {
  try {
    const list = fileFullEaInformation.decode(input);
    const refusal = checkEaList(list);
    if (refusal !== Status.SUCCESS) throw new StatusError(refusal);
    return list;
  } catch (error) {
    if (error instanceof WireError) throw new StatusError(Status.EA_LIST_INCONSISTENT);
    throw error;
  }
}
