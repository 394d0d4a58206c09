import { Outcome, type Reserve } from '../../../proto/generated/handles.ts';
import { CreateOptions } from '../../../smb/constants.ts';
import { statusOfOutcome } from '../../handles.ts';
import { StatusError } from '../../session/request.ts';
import { type FoundFile, lastNameOf } from '../../volume/folder.ts';
import type { FileDescription } from '../../volume/known-files.ts';
import { foldedName } from '../../volume/names.ts';
import { isDirectory } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { LookAgain } from '../look-again.ts';
import { creationFor, writesThrough } from './ask.ts';
import type { CreateAsk } from './create-ask.ts';
import { describe, planOf } from './create-new.ts';
import { createsMissing } from './parameters.ts';

/**
 * A file that a replayed CREATE has made itself, at a server that died or lost the table before the open was granted: there is no open to
 * give to its client, and the file is in nobody's way. It is known by the CreateGuid that is stored with it. Where the server died
 * between making it and storing that, it is known by the name, which is still reserved for this CREATE: no server makes a file under
 * a name without taking the reservation over. What was not done yet is done then.
 * @returns what is known of the file by now; undefined: it is somebody else's. Throws StatusError, LookAgain and PosixError.
 */
export async function madeBy(
  ask: CreateAsk,
  found: FoundFile,
  about: FileDescription,
): Promise<FileDescription | undefined> {
  const { request, wishes, folder } = ask;
  const createGuid = wishes.durable?.createGuid;
  if (!request.isReplay || !createGuid || found.path === '.') return undefined;
  const isKnown = about.stored.createGuid?.equals(createGuid) === true;
  if (!isKnown && !mayBeHalfMade(ask, found, about)) return undefined;
  const parentFd = await folder.openParent(found.path);
  try {
    const own = isKnown ? about : await finish(ask, found, about, parentFd);
    if (own && writesThrough(ask)) await folder.syncDirectory(parentFd);
    return own;
  } finally {
    await folder.posix.close(parentFd);
  }
}

/** Every file that was made to its end says whose it is. */
function mayBeHalfMade({ wire }: CreateAsk, { stat }: FoundFile, { stored }: FileDescription): boolean {
  const directory = (wire.createOptions & CreateOptions.DIRECTORY_FILE) !== 0;
  const isWhole = stored.createGuid !== undefined || stored.owner !== undefined || stored.hasDescriptor;
  return !isWhole && directory === isDirectory(stat) && createsMissing(wire.createDisposition);
}

async function finish(
  ask: CreateAsk,
  found: FoundFile,
  { stored }: FileDescription,
  parentFd: number,
): Promise<FileDescription | undefined> {
  const { request, folder } = ask;
  const { handles } = request.services;
  const name: Reserve = {
    directoryId: await folder.fileId(parentFd, await statOf(folder.posix, parentFd)),
    name: foldedName(lastNameOf(found.path)),
    creation: creationFor(ask),
  };
  const { outcome } = await handles.resumeCreation(name, request);
  if (outcome === Outcome.NOT_FOUND) return undefined;
  if (outcome === Outcome.NAME_BUSY) throw new LookAgain('another server is at this name');
  if (outcome !== Outcome.GRANTED) throw new StatusError(statusOfOutcome(outcome));
  try {
    await describe(ask, found.fd, await planOf(ask, parentFd), stored);
    return await folder.describe({ ...found, stat: await statOf(folder.posix, found.fd), known: undefined });
  } finally {
    handles.dropReservation(name);
  }
}
