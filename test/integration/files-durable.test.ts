import { randomBytes } from 'node:crypto';
import { constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { setFileInfoRequest } from '../../client/file/requests.ts';
import { Command, CreateOptions, Fsctl, LeaseState, LockFlags, OplockLevel, ShareAccess } from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { fileBasicInformation } from '../../smb/fscc/file-info.ts';
import {
  type CreateContext,
  encodeAppInstanceId,
  encodeAppInstanceVersion,
  encodeDH2C,
  encodeDH2QRequest,
  encodeDHnC,
  encodeDHnQRequest,
  encodeRqLs,
  findCreateContext,
  CreateContextName as Name,
} from '../../smb/wire/create-contexts.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { encodeResiliencyRequest } from '../../smb/wire/ioctl-payloads.ts';
import { eventually } from '../cluster/shell.ts';
import { RawClient, type RawCreate, type RawOpen } from '../faults/raw-client.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const TEST_TIMEOUT_MS = 60_000;
const NO_GUID = Buffer.alloc(16);
/** FILETIME. */
const T = 132_000_000_000_000_000n;
const EPOCH = 116_444_736_000_000_000n;
let serving: Serving;
let clients: RawClient[] = [];

beforeAll(async () => {
  serving = await Serving.start({ servers: 2 });
}, 60_000);
afterEach(() => {
  for (const client of clients) client.close();
  clients = [];
});
afterAll(async () => {
  await serving?.stop();
}, 30_000);

async function clientAt(server: number, clientGuid = randomBytes(16)): Promise<RawClient> {
  const login = { user: USER, password: PASSWORD, share: 'share', clientGuid };
  const client = await RawClient.connect(serving.addresses[server] ?? '', login);
  clients.push(client);
  return client;
}

const durableV1 = (): CreateContext => ({ name: Name.DURABLE_HANDLE_REQUEST, data: encodeDHnQRequest() });
const reconnectV1 = (fileId: FileId): CreateContext => ({
  name: Name.DURABLE_HANDLE_RECONNECT,
  data: encodeDHnC(fileId),
});
const durableV2 = (createGuid: Buffer): CreateContext => ({
  name: Name.DURABLE_HANDLE_REQUEST_V2,
  data: encodeDH2QRequest({ timeoutMs: 0, flags: 0, createGuid }),
});
const reconnectV2 = (fileId: FileId, createGuid: Buffer): CreateContext => ({
  name: Name.DURABLE_HANDLE_RECONNECT_V2,
  data: encodeDH2C({ fileId, createGuid, flags: 0 }),
});
const lease = (leaseKey: Buffer): CreateContext => ({
  name: Name.REQUEST_LEASE,
  data: encodeRqLs({
    version: 1,
    leaseKey,
    leaseState: LeaseState.READ_CACHING | LeaseState.WRITE_CACHING | LeaseState.HANDLE_CACHING,
    flags: 0,
  }),
});
const instance = (id: Buffer, version?: bigint): CreateContext[] => [
  { name: Name.APP_INSTANCE_ID, data: encodeAppInstanceId(id) },
  ...(version === undefined
    ? []
    : [{ name: Name.APP_INSTANCE_VERSION, data: encodeAppInstanceVersion({ high: 1n, low: version }) }]),
];

/** Without a handle under a GUID, which RawClient.open would ask for. */
async function granted(client: RawClient, path: string, create: RawCreate): Promise<RawOpen> {
  const opened = await client.tryOpen(path, create);
  if (typeof opened === 'string') throw new Error(`opening ${path}: ${opened}`);
  return opened;
}

describe('durable opens on two file servers', () => {
  test(
    'are reclaimed at the other server with their oplock and their locks',
    async () => {
      const first = await clientAt(0);
      const batch = { oplock: OplockLevel.BATCH, shareAccess: 0 };
      const open = await granted(first, 'v1.bin', { ...batch, contexts: [durableV1()] });
      expect(open.oplockLevel).toBe(OplockLevel.BATCH);
      expect(findCreateContext(open.createContexts, Name.DURABLE_HANDLE_REQUEST)).toBeDefined();
      expect(await first.lock(open, 0, 10)).toBe('STATUS_SUCCESS');
      first.close();

      // A v1 client has nothing but the id, and no lease that would bind it to its ClientGuid.
      const back = await clientAt(1);
      const again = await granted(back, 'v1.bin', { contexts: [reconnectV1(open.fileId)] });

      expect(again.fileId.persistent).toBe(open.fileId.persistent);
      expect(again.oplockLevel).toBe(OplockLevel.BATCH);
      expect(await back.lock(again, 0, 10, LockFlags.UNLOCK)).toBe('STATUS_SUCCESS');
      expect(await back.closeFile(again)).toBe('STATUS_SUCCESS');
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'that write through do so at the other server, too',
    async () => {
      const first = await clientAt(0);
      const options = CreateOptions.NON_DIRECTORY_FILE | CreateOptions.WRITE_THROUGH;
      const open = await granted(first, 'through.bin', { oplock: OplockLevel.BATCH, options, contexts: [durableV1()] });
      const through = [constants.O_DSYNC];
      const flagsAt = (server: number) =>
        serving.writingFlags(server, 'through.bin').map((flags) => flags & constants.O_DSYNC);
      expect(flagsAt(0)).toEqual(through);
      first.close();

      const back = await clientAt(1);
      const again = await granted(back, 'through.bin', { contexts: [reconnectV1(open.fileId)] });
      expect(flagsAt(1)).toEqual(through);
      await back.closeFile(again);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'that hold a lease are given back to its client alone, by its key and the name of its file',
    async () => {
      const clientGuid = randomBytes(16);
      const [createGuid, key] = [randomBytes(16), randomBytes(16)];
      const first = await clientAt(0, clientGuid);
      const contexts = [durableV2(createGuid), lease(key)];
      const open = await granted(first, 'leased.bin', { oplock: OplockLevel.LEASE, contexts });
      first.close();
      const claim = reconnectV2(open.fileId, createGuid);
      const wanted = { oplock: OplockLevel.LEASE, contexts: [claim, lease(key)] };

      expect(await (await clientAt(1)).refusal('leased.bin', wanted)).toBe('STATUS_OBJECT_NAME_NOT_FOUND');
      const back = await clientAt(1, clientGuid);
      expect(await back.refusal('leased.bin', { contexts: [claim] })).toBe('STATUS_OBJECT_NAME_NOT_FOUND');
      const otherKey = { oplock: OplockLevel.LEASE, contexts: [claim, lease(randomBytes(16))] };
      expect(await back.refusal('leased.bin', otherKey)).toBe('STATUS_OBJECT_NAME_NOT_FOUND');
      const otherGuid = { ...wanted, contexts: [reconnectV2(open.fileId, NO_GUID), lease(key)] };
      expect(await back.refusal('leased.bin', otherGuid)).toBe('STATUS_OBJECT_NAME_NOT_FOUND');
      expect(await back.refusal('other.bin', wanted)).toBe('STATUS_INVALID_PARAMETER');
      const again = await granted(back, 'LEASED.bin', wanted);

      expect(again.fileId.persistent).toBe(open.fileId.persistent);
      expect(again.oplockLevel).toBe(OplockLevel.LEASE);
      expect(await back.write(again, 0, Buffer.from('mine'))).toBe('STATUS_SUCCESS');
      await back.closeFile(again);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'give way to a newcomer while their client is away',
    async () => {
      const first = await clientAt(0);
      const open = await granted(first, 'purged.bin', {
        oplock: OplockLevel.BATCH,
        shareAccess: 0,
        contexts: [durableV1()],
      });
      first.close();

      const newcomer = await clientAt(1);
      const theirs = await eventually('the server hears that the client is gone', 10_000, async () => {
        const answer = await newcomer.tryOpen('purged.bin', { shareAccess: 0 });
        return typeof answer === 'string' ? undefined : answer;
      });

      const back = await clientAt(0);
      const claim = { contexts: [reconnectV1(open.fileId)] };
      expect(await back.refusal('purged.bin', claim)).toBe('STATUS_OBJECT_NAME_NOT_FOUND');
      await newcomer.closeFile(theirs);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'are not granted to who caches no handle',
    async () => {
      const client = await clientAt(0);
      for (const oplock of [OplockLevel.NONE, OplockLevel.LEVEL_II, OplockLevel.EXCLUSIVE]) {
        const open = await granted(client, 'plain.bin', { oplock, contexts: [durableV2(randomBytes(16))] });
        expect(findCreateContext(open.createContexts, Name.DURABLE_HANDLE_REQUEST_V2)).toBeUndefined();
        await client.closeFile(open);
      }
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'that are resilient wait whatever they cache, and are kept from newcomers',
    async () => {
      const first = await clientAt(0);
      const open = await granted(first, 'resilient.bin', { shareAccess: 0 });
      const asked = encodeResiliencyRequest(60_000);
      expect(await first.ioctl(open, Fsctl.LMR_REQUEST_RESILIENCY, asked)).toBe('STATUS_SUCCESS');
      const tooLong = encodeResiliencyRequest(24 * 3600_000);
      expect(await first.ioctl(open, Fsctl.LMR_REQUEST_RESILIENCY, tooLong)).toBe('STATUS_INVALID_PARAMETER');
      expect(await first.write(open, 0, Buffer.from('kept'))).toBe('STATUS_SUCCESS');
      first.close();

      const newcomer = await clientAt(1);
      expect(await newcomer.refusal('resilient.bin', { shareAccess: ShareAccess.READ })).toBe(
        'STATUS_SHARING_VIOLATION',
      );
      const back = await clientAt(1);
      const again = await granted(back, 'resilient.bin', { contexts: [reconnectV1(open.fileId)] });

      expect(String(await back.read(again, 0, 4))).toBe('kept');
      await back.closeFile(again);
    },
    TEST_TIMEOUT_MS,
  );
});

describe('a write time that a handle has frozen', () => {
  test(
    'holds for it at another server, too, when its own was killed',
    async () => {
      const clientGuid = randomBytes(16);
      const createGuid = randomBytes(16);
      const first = await clientAt(0, clientGuid);
      const batch = { oplock: OplockLevel.BATCH, shareAccess: 0 };
      const open = await granted(first, 'frozen.bin', { ...batch, contexts: [durableV2(createGuid)] });
      const freeze = { creationTime: 0n, lastAccessTime: 0n, changeTime: 0n, fileAttributes: 0, lastWriteTime: T };
      const info = fileBasicInformation.encode(freeze);
      const body = setFileInfoRequest(open.fileId, FileInfoClass.basic, info);
      expect((await first.send({ command: Command.SET_INFO, body, payloadBytes: info.length })).status).toBe(0);
      await serving.kill('fileserver-0');

      const back = await eventually('the client is back', 20_000, () => clientAt(1, clientGuid));
      const again = await eventually('its file, too', 20_000, () =>
        granted(back, 'frozen.bin', { contexts: [reconnectV2(open.fileId, createGuid)] }),
      );
      expect(await back.write(again, 0, Buffer.from('late'))).toBe('STATUS_SUCCESS');
      const { mtimeMs } = statSync(join(serving.directory, 'frozen.bin'));
      expect(mtimeMs).toBe(Number((T - EPOCH) / 10_000n));
      await back.closeFile(again);
      await eventually('the other serves again', 30_000, async () => (await serving.isReady(0)) || undefined);
    },
    TEST_TIMEOUT_MS,
  );
});

describe('an application that moves', () => {
  test(
    'takes its file from the client that it left, at whatever server that is',
    async () => {
      const id = randomBytes(16);
      const asked = (version?: bigint): RawCreate => ({
        oplock: OplockLevel.BATCH,
        shareAccess: 0,
        contexts: [durableV2(randomBytes(16)), ...instance(id, version)],
      });
      const before = await clientAt(0);
      const old = await granted(before, 'vm.disk', asked(2n));
      const stranger = await clientAt(1);
      const unrelated = { shareAccess: 0, contexts: instance(randomBytes(16)) };

      expect(await stranger.refusal('vm.disk', asked(1n))).toBe('STATUS_FILE_FORCED_CLOSED');
      const after = await clientAt(1);
      const now = await granted(after, 'vm.disk', asked(3n));

      expect(before.breaks).toEqual([]);
      expect(await before.write(old, 0, Buffer.from('late'))).toBe('STATUS_FILE_CLOSED');
      expect(await after.write(now, 0, Buffer.from('mine'))).toBe('STATUS_SUCCESS');
      const answer = stranger.refusal('vm.disk', unrelated);
      await after.closeFile(now); // or it would be asked to give its oplock up, for so long
      await answer;
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'has the file of a client that is gone',
    async () => {
      const id = randomBytes(16);
      const asked = (): RawCreate => ({
        oplock: OplockLevel.BATCH,
        shareAccess: 0,
        contexts: [durableV2(randomBytes(16)), ...instance(id)],
      });
      const before = await clientAt(0);
      await granted(before, 'moved.disk', asked());
      before.close();
      const after = await clientAt(1);
      const now = await granted(after, 'moved.disk', asked());
      expect(await after.write(now, 0, Buffer.from('mine'))).toBe('STATUS_SUCCESS');
      await after.closeFile(now);
    },
    TEST_TIMEOUT_MS,
  );
});

describe('a CREATE with a CreateGuid', () => {
  test(
    'is answered again when it is replayed, and refused when it is sent twice',
    async () => {
      const client = await clientAt(0);
      const createGuid = randomBytes(16);
      const asked: RawCreate = { oplock: OplockLevel.BATCH, shareAccess: 0, contexts: [durableV2(createGuid)] };
      const open = await granted(client, 'replayed.bin', asked);

      expect(await client.refusal('replayed.bin', asked)).toBe('STATUS_DUPLICATE_OBJECTID');
      const again = await granted(client, 'replayed.bin', { ...asked, replay: true });

      expect(again.fileId).toEqual(open.fileId);
      expect(again.createAction).toBe(open.createAction);
      const withLease = { ...asked, oplock: OplockLevel.LEASE, replay: true };
      withLease.contexts = [durableV2(createGuid), lease(randomBytes(16))];
      expect(await client.refusal('replayed.bin', withLease)).toBe('STATUS_ACCESS_DENIED');
      await client.closeFile(open);
    },
    TEST_TIMEOUT_MS,
  );
});
