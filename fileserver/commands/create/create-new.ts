import { Outcome, type Reserve } from '../../../proto/generated/handles.ts';
import { CreateAction, CreateOptions, FileAttributes } from '../../../smb/constants.ts';
import { changedEaList, eaSizeOf } from '../../../smb/fscc/ea.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import type { SecurityDescriptor } from '../../../smb/security/descriptor.ts';
import { encodeSid, type Sid } from '../../../smb/security/sid.ts';
import { Status } from '../../../smb/status.ts';
import { statusOfOutcome } from '../../handles.ts';
import { openFlags } from '../../opens/adoption.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { askerOf } from '../../security/asker.ts';
import { newDescriptor, storedForm } from '../../security/descriptors.ts';
import { type Asker, directoryRights, mayAssignOwner, rightsUnder } from '../../security/rights.ts';
import { FencedError } from '../../session/deadline-gate.ts';
import { type Reply, StatusError } from '../../session/request.ts';
import { noAttributes, type StoredAttributes } from '../../volume/attributes.ts';
import { factsOf } from '../../volume/facts.ts';
import { childOf, type Lookup } from '../../volume/folder.ts';
import type { NameHold } from '../../volume/name-cache.ts';
import { foldedName } from '../../volume/names.ts';
import { checked, Errno, O, type Stat } from '../../volume/posix.ts';
import { statOf } from '../../volume/volume.ts';
import { compress } from '../ioctl/compression.ts';
import { LookAgain } from '../look-again.ts';
import { type AnswerFacts, answerCreate } from './answer.ts';
import { creationFor, newAttributes, recordFor, replayKeyFor, writesThrough } from './ask.ts';
import type { Wishes } from './contexts.ts';
import type { CreateAsk } from './create-ask.ts';
import { lacksEaKnowledge } from './ea-knowledge.ts';
import { grantedAccess } from './parameters.ts';
import { reserveSpace } from './reserve-space.ts';

/** A name that is free, in a directory that is there. */
export type Missing = Extract<Lookup, { kind: 'missing' }>;

/** What a new file is to be, decided before anything is touched. */
interface Plan {
  directory: boolean;
  access: number;
  maximal: number;
  attributes: number;
  owner: Sid;
  /** To be stored; undefined: the default holds. */
  descriptor: Buffer | undefined;
}

/**
 * Creates a file or directory that is not there (handle-state.md): reserves the name in the cluster, creates with O_EXCL, asks the
 * table for the open, which drops the reservation; takes the file away again if the table refuses.
 */
export async function createNew(ask: CreateAsk, missing: Missing): Promise<Reply> {
  const { open, about } = await createOpen(ask, missing);
  return answerCreate(ask.request, open, ask.wishes, about);
}

/** Throws StatusError, LookAgain and PosixError. */
export async function createOpen(ask: CreateAsk, missing: Missing): Promise<{ open: OpenFile; about: AnswerFacts }> {
  const { folder, request } = ask;
  const plan = await planOf(ask, missing.parentFd);
  const { handles } = request.services;
  const name: Reserve = {
    directoryId: await folder.fileId(missing.parentFd, missing.parent),
    name: foldedName(missing.name),
    creation: creationFor(ask),
  };
  const { outcome, value: hold = { elsewhere: false } } = await handles.reserve(name, request);
  if (outcome === Outcome.NAME_BUSY) throw new LookAgain('another server is at this name');
  if (outcome !== Outcome.GRANTED) throw new StatusError(statusOfOutcome(outcome));
  let isReserved = true;
  try {
    await expectStillMissing(ask, hold);
    const created = await createOnVolume(ask, missing, plan);
    try {
      const record = recordFor(ask, {
        fileId: created.fileId,
        path: childOf(missing.parentPath, missing.name),
        isDirectory: plan.directory,
        access: plan.access,
        createAction: CreateAction.CREATED,
      });
      const decision = await handles.open({ record, truncates: false, drop: undefined }, request);
      if (decision.outcome === Outcome.FENCED) throw new FencedError();
      if (decision.outcome !== Outcome.GRANTED || !decision.value?.record) {
        throw new StatusError(statusOfOutcome(decision.outcome));
      }
      isReserved = false;
      handles.dropReservation(name);
      const open: OpenFile = request.services.opens.add({
        record: decision.value.record,
        folder,
        fd: created.fd,
        writesThrough: writesThrough(ask),
        session: request.session,
        tree: request.tree,
        channelSequence: ask.request.channelSequence,
        replayKey: replayKeyFor(ask),
        fileState: decision.value.fileState,
      });
      if (!ask.isForStream) request.opened();
      request.services.changes.added(request.tree.share, open.path, plan.directory, open);
      if (plan.directory && open.record.lease) {
        await request.services.opens.directoryLeases.hold(open, request.tree.share);
      }
      const facts = factsOf(created.stat, created.stored);
      const about = { facts, inode: created.stat.inode, maximalAccess: plan.maximal };
      return { open, about };
    } catch (error) {
      await folder.posix.close(created.fd);
      // It may be others' by now, and so may the name: what this server had reserved went with the fence.
      if (error instanceof FencedError) isReserved = false;
      else await takeAway(ask, missing, created.fileId);
      throw error;
    }
  } finally {
    if (isReserved) handles.dropReservation(name);
  }
}

/**
 * The table did not grant the open of a file that was made for it. It goes, unless somebody has opened it meanwhile. Where the table cannot be
 * asked, what can be replayed stays: its replay, here or at another server, knows it for its own (made-by.ts).
 */
async function takeAway(ask: CreateAsk, { name, parentPath }: Missing, fileId: Buffer): Promise<void> {
  const { folder, request, wishes } = ask;
  const { handles } = request.services;
  const { outcome } = await handles.fileGone({ fileId, ahead: true });
  const isKnown =
    outcome === Outcome.GRANTED || outcome === Outcome.ACCESS_DENIED || outcome === Outcome.DELETE_PENDING;
  if (outcome !== Outcome.GRANTED && (isKnown || wishes.durable)) return;
  await folder.removeIfSame(childOf(parentPath, name), fileId, writesThrough(ask));
  if (outcome === Outcome.GRANTED) await handles.fileGone({ fileId, ahead: false });
}

/** Throws StatusError and PosixError. */
export async function planOf(ask: CreateAsk, parentFd: number): Promise<Plan> {
  const { wire, wishes, request, folder } = ask;
  const directory = (wire.createOptions & CreateOptions.DIRECTORY_FILE) !== 0;
  const asker = askerOf(request);
  const parent = await directoryRights(folder, parentFd, asker);
  const needed = directory ? Access.addSubdirectory : Access.addFile;
  if ((parent.rights & needed) === 0) throw new StatusError(Status.ACCESS_DENIED);
  if (wishes.extendedAttributes.length > 0 && lacksEaKnowledge(ask)) throw new StatusError(Status.ACCESS_DENIED);
  // Nothing is encrypted here (MS-FSA 2.1.5.1.1), and the client must not believe it.
  if ((wire.fileAttributes & FileAttributes.ENCRYPTED) !== 0) throw new StatusError(Status.ACCESS_DENIED);
  const attributes = newAttributes(ask, directory);
  const deletesReadOnly =
    (attributes & FileAttributes.READONLY) !== 0 && (wire.createOptions & CreateOptions.DELETE_ON_CLOSE) !== 0;
  if (deletesReadOnly) throw new StatusError(Status.CANNOT_DELETE);
  const owner = asker.token.user;
  const descriptor = newDescriptor(parent.descriptor, creatorsDescriptor(wishes, asker), { directory, owner });
  // Who creates a file may do with it what they ask for, whatever it says to later opens (MS-FSA 2.1.5.1.1).
  const access = grantedAccess(wire.desiredAccess, asker.shareAccess);
  if (access === undefined) throw new StatusError(Status.ACCESS_DENIED);
  const maximal = descriptor ? rightsUnder(descriptor, parent.rights, asker) : asker.shareAccess;
  return { directory, access, maximal, attributes, owner, descriptor: descriptor && storedForm(descriptor) };
}

/** What the client brings as SecD (MS-SMB2 3.3.5.9.3), checked. Throws StatusError. */
function creatorsDescriptor({ descriptor }: Wishes, { token, shareAccess }: Asker): SecurityDescriptor | undefined {
  if (descriptor === undefined) return undefined;
  if (descriptor.owner !== undefined && !mayAssignOwner(token, shareAccess, descriptor.owner)) {
    throw new StatusError(Status.INVALID_OWNER);
  }
  if (descriptor.sacl !== undefined && descriptor.sacl !== null && descriptor.sacl.aces.length > 0) {
    throw new StatusError(Status.PRIVILEGE_NOT_HELD);
  }
  return descriptor;
}

/** Between the look-up and the reservation another server may have created the name, in this or another case. */
async function expectStillMissing(ask: CreateAsk, hold: NameHold): Promise<void> {
  const again = await ask.folder.lookup(ask.names, undefined, hold);
  if (again.kind === 'found') await ask.folder.posix.close(again.fd);
  if (again.kind === 'missing') await ask.folder.posix.close(again.parentFd);
  else throw new LookAgain('the name was taken meanwhile');
}

async function createOnVolume(
  ask: CreateAsk,
  missing: Missing,
  plan: Plan,
): Promise<{ fd: number; stat: Stat; fileId: Buffer; stored: StoredAttributes }> {
  const { folder, wishes, wire } = ask;
  const fd = plan.directory ? await createDirectory(ask, missing) : await createFile(ask, missing, plan);
  try {
    const stored = await describe(ask, fd, plan);
    if (!plan.directory) await reserveSpace(ask, fd, wishes.allocationSize);
    if ((wire.createOptions & CreateOptions.NO_COMPRESSION) !== 0 && folder.volume.abilities.compresses) {
      await compress(folder, fd, false);
    }
    if (writesThrough(ask)) await folder.syncDirectory(missing.parentFd);
    const stat = await statOf(folder.posix, fd);
    return { fd, stat, fileId: await folder.fileId(fd, stat), stored };
  } catch (error) {
    await folder.posix.close(fd);
    await folder.remove(missing.parentFd, missing.name, plan.directory);
    throw error;
  }
}

/**
 * Stores what the new file is beyond its data. Its descriptor comes first: without it everybody would get in. `before` is what is stored
 * already of a file that a lost server had made.
 */
export async function describe(
  { folder, wishes }: CreateAsk,
  fd: number,
  plan: Plan,
  before = noAttributes,
): Promise<StoredAttributes> {
  const { descriptor } = plan;
  const list = changedEaList([], wishes.extendedAttributes);
  if (descriptor) await folder.setDescriptor(fd, descriptor);
  if (list.length > 0) await folder.setExtendedAttributes(fd, list);
  const implied = plan.directory ? 0 : FileAttributes.ARCHIVE;
  const stored = {
    ...before,
    attributes: before.attributes ?? (plan.attributes === implied ? undefined : plan.attributes),
    hasDescriptor: descriptor !== undefined,
    owner: descriptor ? undefined : encodeSid(plan.owner),
    eaSize: list.length > 0 ? eaSizeOf(list) : before.eaSize,
    createGuid: wishes.durable?.createGuid,
  };
  await folder.setAttributes(fd, stored);
  return stored;
}

async function createFile(ask: CreateAsk, missing: Missing, plan: Plan): Promise<number> {
  const flags = openFlags(plan.access, false, writesThrough(ask)) ?? O.RDONLY;
  const fd = await ask.folder.createFile(missing.parentFd, missing.name, flags);
  if (fd === -Errno.EEXIST) throw new LookAgain('the name was taken meanwhile');
  return checked(fd, 'openat2');
}

async function createDirectory(ask: CreateAsk, missing: Missing): Promise<number> {
  const { folder } = ask;
  const made = await folder.createDirectory(missing.parentFd, missing.name);
  if (made === -Errno.EEXIST) throw new LookAgain('the name was taken meanwhile');
  checked(made, 'mkdirat');
  return checked(await folder.posix.openBeneath(missing.parentFd, missing.name, O.PATH | O.DIRECTORY), 'openat2');
}
