import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Client } from '../../client/index.ts';
import { CreateDisposition, FileAccess, Fsctl, InfoType } from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { fileCompressionInformation } from '../../smb/fscc/file-info.ts';
import {
  CompressionFormat,
  decodeCompression,
  decodeRanges,
  encodeCompression,
  encodeRanges,
  encodeZeroData,
} from '../../smb/fscc/fsctl.ts';
import { Status } from '../../smb/status.ts';
import {
  decodeCopychunkResponse,
  decodeResumeKeyResponse,
  encodeCopychunkRequest,
} from '../../smb/wire/ioctl-payloads.ts';
import { canMakeVolumes, LoopVolume } from '../loop-volume.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';
import { RawOpen } from './raw-requests.ts';

const MIB = 1024 * 1024;
const NOTHING = Buffer.alloc(0);
const TEST_TIMEOUT_MS = 60_000;
const READ_WRITE = FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE;

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe.each([
  ['a plain share', []],
  ['a continuously available share', ['--continuously-available']],
] as const)('file system controls on %s', (_kind, flags) => {
  let serving: Serving;
  let client: Client;
  const onDisk = (name: string) => join(serving.directory, name);

  beforeAll(async () => {
    serving = await Serving.start({ flags: [...flags] });
    client = await Client.connect({ addresses: serving.addresses, user: USER, password: PASSWORD, share: 'share' });
  }, 60_000);

  afterAll(async () => {
    await client?.close();
    await serving?.stop();
  }, 30_000);

  const openRaw = (name: string) =>
    RawOpen.open(client, name, { access: READ_WRITE, disposition: CreateDisposition.OPEN_IF });

  async function copy(
    source: RawOpen,
    target: RawOpen,
    chunks: { sourceOffset: number; targetOffset: number; length: number }[],
  ) {
    const key = decodeResumeKeyResponse((await source.ioctl(Fsctl.SRV_REQUEST_RESUME_KEY, NOTHING, 32)).output);
    const { status, output } = await target.ioctl(
      Fsctl.SRV_COPYCHUNK,
      encodeCopychunkRequest({ sourceKey: key, chunks }),
    );
    return { status, ...decodeCopychunkResponse(output) };
  }

  test(
    'chunks are copied on the server, as far as their limits and the source go',
    async () => {
      const content = randomBytes(3 * MIB);
      writeFileSync(onDisk('source'), content);
      const [source, target] = [await openRaw('source'), await openRaw('target')];
      const chunk = (at: number) => ({ sourceOffset: at * MIB, targetOffset: at * MIB, length: MIB });
      const whole = await copy(source, target, [chunk(2), chunk(0), chunk(1)]);
      expect(whole).toEqual({
        status: Status.SUCCESS,
        chunksWritten: 3,
        chunkBytesWritten: 0,
        totalBytesWritten: 3 * MIB,
      });
      expect(sha256(readFileSync(onDisk('target')))).toBe(sha256(content));

      const limits = await copy(source, target, [{ ...chunk(0), length: MIB + 1 }]);
      expect(limits).toEqual({
        status: Status.INVALID_PARAMETER,
        chunksWritten: 256,
        chunkBytesWritten: MIB,
        totalBytesWritten: 16 * MIB,
      });
      const beyond = await copy(source, target, [chunk(0), chunk(3)]);
      expect(beyond).toMatchObject({ status: Status.INVALID_VIEW_SIZE, chunksWritten: 1, totalBytesWritten: MIB });
      await source.close();
      await target.close();
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'a lock of another open keeps a range from being copied to and from being zeroed',
    async () => {
      writeFileSync(onDisk('unlocked'), Buffer.alloc(8192, 'a'));
      writeFileSync(onDisk('locked'), Buffer.alloc(8192, 'b'));
      const holder = await client.open('locked', { access: 'readwrite' });
      await holder.lock(0, 4096);
      const [source, target] = [await openRaw('unlocked'), await openRaw('locked')];
      const refused = await copy(source, target, [{ sourceOffset: 0, targetOffset: 0, length: 4096 }]);
      expect(refused).toMatchObject({ status: Status.FILE_LOCK_CONFLICT, chunksWritten: 0 });
      const zeroed = await target.ioctl(Fsctl.SET_ZERO_DATA, encodeZeroData({ offset: 0, length: 10 }));
      expect(zeroed.status).toBe(Status.FILE_LOCK_CONFLICT);
      expect(readFileSync(onDisk('locked')).equals(Buffer.alloc(8192, 'b'))).toBe(true);
      const behind = await copy(source, target, [{ sourceOffset: 0, targetOffset: 4096, length: 4096 }]);
      expect(behind.status).toBe(Status.SUCCESS);
      await holder.close();
      await source.close();
      await target.close();
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'a sparse file has holes where nothing was written and where it was zeroed',
    async () => {
      writeFileSync(onDisk('sparse'), Buffer.alloc(2 * MIB, 'x'));
      const file = await openRaw('sparse');
      const query = encodeRanges([{ offset: 0, length: 2 * MIB }]);
      expect(decodeRanges((await file.ioctl(Fsctl.QUERY_ALLOCATED_RANGES, query)).output)).toEqual([
        { offset: 0, length: 2 * MIB },
      ]);
      expect((await file.ioctl(Fsctl.SET_SPARSE, NOTHING)).status).toBe(Status.SUCCESS);
      const hole = encodeZeroData({ offset: MIB / 2, length: MIB });
      expect((await file.ioctl(Fsctl.SET_ZERO_DATA, hole)).status).toBe(Status.SUCCESS);
      const ranges = [
        { offset: 0, length: MIB / 2 },
        { offset: MIB + MIB / 2, length: MIB / 2 },
      ];
      expect(decodeRanges((await file.ioctl(Fsctl.QUERY_ALLOCATED_RANGES, query)).output)).toEqual(ranges);
      const short = await file.ioctl(Fsctl.QUERY_ALLOCATED_RANGES, query, 16);
      expect(short.status).toBe(Status.BUFFER_OVERFLOW);
      expect(decodeRanges(short.output)).toEqual(ranges.slice(0, 1));
      expect(statSync(onDisk('sparse')).blocks * 512).toBeLessThan(2 * MIB);
      expect(
        readFileSync(onDisk('sparse'))
          .subarray(MIB / 2, MIB + MIB / 2)
          .every((byte) => byte === 0),
      ).toBe(true);
      await file.close();
    },
    TEST_TIMEOUT_MS,
  );

  test('a file has an id that it keeps, and no snapshots', async () => {
    const [file, again, other] = [await openRaw('with id'), await openRaw('with id'), await openRaw('with another')];
    const idOf = async (open: RawOpen, control: number) => {
      const { status, output } = await open.ioctl(control, NOTHING, 64);
      expect([status, output.length]).toEqual([Status.SUCCESS, 64]);
      return output.subarray(0, 16).toString('hex');
    };
    const id = await idOf(file, Fsctl.CREATE_OR_GET_OBJECT_ID);
    expect(await idOf(again, Fsctl.GET_OBJECT_ID)).toBe(id);
    expect(await idOf(other, Fsctl.GET_OBJECT_ID)).not.toBe(id);

    // NumberOfSnapShots, NumberOfSnapShotsReturned, SnapShotArraySize (MS-SMB2 2.2.32.2).
    const { status, output } = await file.ioctl(Fsctl.SRV_ENUMERATE_SNAPSHOTS, NOTHING, 16);
    expect([status, output.toString('hex')]).toEqual([Status.SUCCESS, '00000000000000000200000000000000']);
    const little = await file.ioctl(Fsctl.SRV_ENUMERATE_SNAPSHOTS, NOTHING, 8);
    expect(little.status).toBe(Status.INVALID_PARAMETER);
    for (const open of [file, again, other]) await open.close();
  });

  test('what the file system does not know is refused', async () => {
    const file = await openRaw('plain');
    expect((await file.ioctl(Fsctl.GET_REPARSE_POINT, NOTHING)).status).toBe(Status.NOT_A_REPARSE_POINT);
    expect((await file.ioctl(Fsctl.GET_NTFS_VOLUME_DATA, NOTHING)).status).toBe(Status.INVALID_DEVICE_REQUEST);
    expect((await file.ioctl(0x1234_5678, NOTHING)).status).toBe(Status.INVALID_DEVICE_REQUEST);
    expect((await file.ioctl(Fsctl.VALIDATE_NEGOTIATE_INFO, NOTHING)).status).toBe(Status.INVALID_PARAMETER);
    await file.close();
  });

  describe("with Samba's smbclient", () => {
    const argsOf = (command: string) => {
      const credentials = onDisk('.credentials');
      writeFileSync(credentials, `username=${USER}\npassword=${PASSWORD}\n`, { mode: 0o600 });
      const port = serving.addresses[0]?.split(':')[1] ?? '';
      return ['//127.0.0.1/share', '-p', port, '-A', credentials, '-c', command];
    };

    test(
      'scopy copies on the server',
      async () => {
        const content = randomBytes(20 * MIB + 4711);
        writeFileSync(onDisk('large'), content);
        await new Promise<void>((resolve, reject) =>
          execFile('smbclient', argsOf('scopy large copy'), (error, stdout, stderr) =>
            error ? reject(new Error(stdout + stderr)) : resolve(),
          ),
        );
        expect(sha256(readFileSync(onDisk('copy')))).toBe(sha256(content));
        rmSync(onDisk('copy'));
      },
      TEST_TIMEOUT_MS,
    );

    test(
      'notify prints what others change',
      async () => {
        await client.mkdir('watched');
        const child = spawn('stdbuf', ['-oL', 'smbclient', ...argsOf('notify watched')], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        try {
          const printed = new Promise<string>((resolve) => child.stdout.once('data', (text) => resolve(String(text))));
          let isPrinted = false;
          void printed.then(() => {
            isPrinted = true;
          });
          // It says nothing when it begins to watch: names come until it has heard of one.
          for (let i = 0; !isPrinted && i < 200; i++) {
            await (await client.open(`watched/new${i}`, { disposition: 'create', access: 'write' })).close();
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
          expect(await printed).toMatch(/0001 new\d+/);
        } finally {
          child.kill();
        }
      },
      TEST_TIMEOUT_MS,
    );
  });
});

(canMakeVolumes ? describe : describe.skip)('on a volume that compresses', () => {
  let volume: LoopVolume;
  let serving: Serving;
  let client: Client;

  beforeAll(async () => {
    volume = await LoopVolume.btrfs();
    serving = await Serving.start({ directory: volume.path });
    client = await Client.connect({ addresses: serving.addresses, user: USER, password: PASSWORD, share: 'share' });
  }, 60_000);

  afterAll(async () => {
    await client?.close();
    await serving?.stop();
    await volume?.remove();
  }, 30_000);

  test(
    'a file says the same of its compression to whatever asks for it',
    async () => {
      const file = await RawOpen.open(client, 'file', { access: READ_WRITE, disposition: CreateDisposition.CREATE });
      const told = async () => {
        const answer = await file.query(InfoType.FILE, FileInfoClass.compression);
        const compression = fileCompressionInformation.decode(answer);
        const { output } = await file.ioctl(Fsctl.GET_COMPRESSION, NOTHING);
        expect(decodeCompression(output)).toBe(compression.compressionFormat);
        return compression;
      };
      const { none, lznt1 } = CompressionFormat;
      expect(await told()).toMatchObject({ compressionFormat: none, compressionUnitShift: 0, clusterShift: 0 });
      for (const [asked, is] of [
        [CompressionFormat.default, lznt1],
        [none, none],
        [lznt1, lznt1],
      ] as const) {
        expect((await file.ioctl(Fsctl.SET_COMPRESSION, encodeCompression(asked))).status).toBe(Status.SUCCESS);
        expect(await file.write(0, Buffer.alloc(MIB / 16, asked))).toBe(Status.SUCCESS);
        expect(await told()).toMatchObject({ compressionFormat: is });
      }
      expect(await told()).toMatchObject({ compressionUnitShift: 17, chunkShift: 12, clusterShift: 12 });
      await file.close();
    },
    TEST_TIMEOUT_MS,
  );
});
