// A file server that is driven to all of its limits at the same time, in a memory cgroup of 512 MiB: what docs/limits.md promises.
//   LIMITS=1   all of them (make test-limits: a minute); default: a sixteenth of each, which shows what the parts cost
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseAddress } from '../../client/connect/address.ts';
import { DEFAULT_LIMITS } from '../../fileserver/session/usage.ts';
import { RawClient } from '../../fileserver/testing/raw-client.ts';
import {
  Command,
  CreateDisposition,
  CreateOptions,
  FileAccess,
  ImpersonationLevel,
  LockFlags,
  OplockLevel,
  QueryDirectoryFlags,
  ShareAccess,
} from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { Status, statusName } from '../../smb/status.ts';
import { encodeChangeNotifyRequest } from '../../smb/wire/change-notify.ts';
import { encodeCloseRequest } from '../../smb/wire/close.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { framePrefix } from '../../smb/wire/framing.ts';
import { encodeLockRequest } from '../../smb/wire/lock.ts';
import { encodeQueryDirectoryRequest } from '../../smb/wire/query-directory.ts';
import { encodeReadRequest } from '../../smb/wire/read.ts';
import { eventually } from '../cluster/shell.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';

const MIB = 1024 * 1024;
const PART = Number(process.env.LIMITS ?? 1 / 16);
const isWhole = PART === 1;
const of = (limit: number) => Math.ceil(limit * PART);

const MEMORY = 512 * MIB;
/** What a process with nothing to do has, and what everything may add to it, of the table in docs/limits.md. */
const IDLE = 130 * MIB;
const ADDED = 382 * MIB;
/** What the garbage collector has not come to yet, where there is little and no need to. */
const UNCOLLECTED = 64 * MIB;

const BEFORE_LOGON = of(DEFAULT_LIMITS.connectionsBeforeLogon);
const CONNECTIONS = of(DEFAULT_LIMITS.connections) - BEFORE_LOGON;
const SESSIONS = of(DEFAULT_LIMITS.sessions);
const OPENS = of(DEFAULT_LIMITS.opens);
const REQUESTS = of(DEFAULT_LIMITS.requests);
const WAITING = of(DEFAULT_LIMITS.waitingRequests);
/** With the quarter more for who has nothing in flight. */
const IN_FLIGHT = of(DEFAULT_LIMITS.bytesInFlight * 1.25);
const LARGE = Math.max(MIB, 8 * MIB * Math.min(1, PART * 4));
/** Connections that have a large message each on the way: nothing else. */
const LARGE_CONNECTIONS = Math.ceil(IN_FLIGHT / LARGE);
/** Connections that have opens. */
const HOLDERS = CONNECTIONS - LARGE_CONNECTIONS - 1;
/** Folders whose changes nobody asks for: 64 KiB are kept of each, 16 MiB together. */
const UNASKED = of(256);
const CHANGES = 320;
/** Of a folder that is listed: more than is read at once. */
const NAMES = 1500;
/** Opens that are left for making changes, so many at a time. */
const SPARE = 16;
/** They are open all the time. */
const FOLDERS = ['waited', 'unasked', 'files'];
const USERS = [USER, 'bob'] as const;
const CREDITS_EACH = 64;
const TIMEOUT_MS = 60_000 + 240_000 * PART;

/** A connection of the many, with what was opened on it. */
interface Load {
  client: RawClient;
  files: FileId[];
  folder: FileId | undefined;
}

function createBody(name: string, options: number, access: number): Buffer {
  return encodeCreateRequest({
    requestedOplockLevel: OplockLevel.NONE,
    impersonationLevel: ImpersonationLevel.IMPERSONATION,
    desiredAccess: access,
    fileAttributes: 0,
    shareAccess: ShareAccess.READ | ShareAccess.WRITE | ShareAccess.DELETE,
    createDisposition: CreateDisposition.OPEN_IF,
    createOptions: options,
    name,
    createContexts: [],
  });
}

const fileBody = (name: string) =>
  createBody(name, CreateOptions.NON_DIRECTORY_FILE, FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE);
const folderBody = (name: string) => createBody(name, CreateOptions.DIRECTORY_FILE, FileAccess.FILE_GENERIC_READ);

const notifyBody = (fileId: FileId) =>
  encodeChangeNotifyRequest({ flags: 0, outputBufferLength: 65_536, fileId, completionFilter: 0x17f });

/** A lock that is granted as soon as somebody decides. */
const lockBody = (fileId: FileId) =>
  encodeLockRequest({
    fileId,
    lockSequenceIndex: 0,
    lockSequenceNumber: 0,
    locks: [{ offset: 0n, length: 1n, flags: LockFlags.SHARED_LOCK | LockFlags.FAIL_IMMEDIATELY }],
  });

/** Sends all, then takes as many answers, in the order of the requests whatever order they come in; throws where one is not `expected`. */
async function all(client: RawClient, command: number, bodies: readonly Buffer[], expected: number = Status.SUCCESS) {
  for (const body of bodies) client.send(command, body, { credits: CREDITS_EACH });
  const answers: { messageId: number; message: Buffer }[] = [];
  while (answers.length < bodies.length) {
    const { header, message } = await client.receive(60_000);
    // An interim answer: the decision takes its time.
    if (header.status === Status.PENDING && expected !== Status.PENDING) continue;
    if (header.status !== expected) throw new Error(`${command} was answered ${statusName(header.status)}`);
    answers.push({ messageId: header.messageId, message });
  }
  return answers.sort((a, b) => a.messageId - b.messageId).map(({ message }) => message);
}

/** Does it with all of a list, some side by side. */
async function withEach<T>(items: readonly T[], act: (item: T, index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      await act(items[index] as T, index);
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
}

/** Of a process, bytes: the most that it ever had in memory. */
function peakOf(pid: number): number {
  const [, kib = '0'] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

const GROUPS = '/sys/fs/cgroup/memory';

/** A memory group of processes (version 1 of cgroups) that gets no more than a pod of 512 MiB. */
class MemoryGroup {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** undefined: it takes root and a kernel that has them. */
  static make(): MemoryGroup | undefined {
    if (process.getuid?.() !== 0 || !existsSync(join(GROUPS, 'memory.limit_in_bytes'))) return undefined;
    const folder = join(GROUPS, `holdfast-limits-${process.pid}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'memory.limit_in_bytes'), String(MEMORY));
    return new MemoryGroup(folder);
  }

  /** What the process starts while `start` runs is in this group, from its first byte on. */
  async during(pid: number, start: () => Promise<void>): Promise<void> {
    const [, own = '/'] = /:memory:(.*)/.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8')) ?? [];
    writeFileSync(join(this.#folder, 'cgroup.procs'), String(pid));
    try {
      await start();
    } finally {
      writeFileSync(join(GROUPS, own, 'cgroup.procs'), String(pid));
    }
  }

  /** Bytes at most so far, with what the kernel has of it: buffers of sockets, cached files. */
  peak(): number {
    return Number(readFileSync(join(this.#folder, 'memory.max_usage_in_bytes'), 'utf8'));
  }

  remove(): void {
    rmdirSync(this.#folder);
  }
}

const parentOf = (pid: number): number =>
  Number(/PPid:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

describe(`a file server at ${isWhole ? 'all of its limits' : `${PART} of its limits`}`, () => {
  let serving: Serving;
  let port: number;
  let group: MemoryGroup | undefined;
  const clients: RawClient[] = [];

  beforeAll(async () => {
    serving = await Serving.start({ flags: ['--user', `bob:${PASSWORD}`, '--signing', 'Desired'] });
    port = parseAddress(serving.addresses[0] ?? '').port;
    group = MemoryGroup.make();
    await group?.during(parentOf(serving.pid('fileserver-0')), () => serving.kill('fileserver-0'));
    await eventually('it serves', 30_000, async () => (await serving.isReady(0)) || undefined);
  }, 60_000);

  afterAll(async () => {
    for (const client of clients) client.end();
    await serving?.stop();
    group?.remove();
  }, 60_000);

  const userOf = (index: number): string => USERS[index % USERS.length] ?? USER;
  const kept = (client: RawClient): RawClient => {
    clients.push(client);
    return client;
  };
  const logOn = async (index: number): Promise<RawClient> => {
    const client = kept(await RawClient.loggedOn(port, userOf(index), PASSWORD));
    if ((await client.treeConnect('share')) !== 0) throw new Error('no tree connect');
    return client;
  };
  /** What the server says that it has. */
  const metric = async (name: string): Promise<number> => {
    const response = await fetch(`http://${serving.detail('fileserver-0', 'metrics')}/metrics`);
    const [, value = 'NaN'] =
      new RegExp(`^holdfast_fileserver_${name}(?:{[^}]*})? (\\S+)$`, 'm').exec(await response.text()) ?? [];
    return Number(value);
  };

  async function open(load: Load, index: number): Promise<void> {
    const share = (total: number) =>
      Math.floor(((index + 1) * total) / HOLDERS) - Math.floor((index * total) / HOLDERS);
    const folders = index < UNASKED ? ['waited', 'unasked'] : ['waited'];
    const files = Array.from(
      { length: Math.max(0, share(OPENS - SPARE - FOLDERS.length) - folders.length) },
      (_, i) => `files\\${index}-${i}`,
    );
    const bodies = [...folders.map(folderBody), ...files.map(fileBody)];
    const opened = (await all(load.client, Command.CREATE, bodies)).map(
      (message) => decodeCreateResponse(message).fileId,
    );
    load.folder = opened[0];
    load.files = opened.slice(folders.length);
    const unasked = folders.length > 1 ? opened[1] : undefined;
    // The first change answers it; what comes then is kept.
    if (unasked) await all(load.client, Command.CHANGE_NOTIFY, [notifyBody(unasked)], Status.PENDING);
    const waiting = Array.from({ length: Math.max(0, share(WAITING) - (unasked ? 1 : 0)) }, () => load.folder);
    await all(
      load.client,
      Command.CHANGE_NOTIFY,
      waiting.flatMap((id) => (id ? [notifyBody(id)] : [])),
      Status.PENDING,
    );
  }

  /** Begins to list a folder: more of it is read than is told. */
  async function beginListing({ client, folder }: Load): Promise<void> {
    if (!folder) return;
    const request = { fileInformationClass: FileInfoClass.names, fileIndex: 0, fileId: folder, fileName: '*' };
    const flags = QueryDirectoryFlags.RETURN_SINGLE_ENTRY;
    const body = encodeQueryDirectoryRequest({ ...request, flags, outputBufferLength: 1024 });
    await all(client, Command.QUERY_DIRECTORY, [body, body, body]);
  }

  /** Buffers that are kept for use: several large answers at once. */
  async function readMuch(): Promise<void> {
    const readers = await Promise.all(Array.from({ length: 5 }, (_, i) => logOn(i)));
    await withEach(readers, async (client) => {
      const [message = Buffer.alloc(0)] = await all(client, Command.CREATE, [fileBody('large')]);
      const request = { length: LARGE, offset: 0, minimumCount: 0, channel: 0, remainingBytes: 0, flags: 0 };
      const body = encodeReadRequest({
        ...request,
        fileId: decodeCreateResponse(message).fileId,
        channelInfo: Buffer.alloc(0),
      });
      // Credits for it come first.
      await all(client, Command.ECHO, [encodeEchoRequest(), encodeEchoRequest(), encodeEchoRequest()]);
      const charge = Math.ceil(LARGE / 65_536);
      const messageId = client.nextMessageId;
      client.send(Command.READ, body, { creditCharge: charge, messageId });
      client.nextMessageId += charge;
      const { header } = await client.receive(30_000);
      if (header.status !== Status.SUCCESS) throw new Error(`READ was answered ${statusName(header.status)}`);
    });
    for (const reader of readers) reader.end();
  }

  /** All of a message but its end. */
  function sendMost(client: RawClient, size: number): void {
    const message = client.message(Command.ECHO, Buffer.alloc(size - 64 - 4));
    client.socket.write(Buffer.concat([framePrefix(message.length), message.subarray(0, -1)]));
  }

  const say = (what: string) => {
    if (process.env.HOLDFAST_TEST_LOG) console.log(`${Math.round(performance.now())} ms: ${what}`);
  };

  test(
    'lives in 512 MiB, and serves when they are over',
    async () => {
      const fileServer = serving.pid('fileserver-0');
      execFileSync('truncate', ['-s', String(LARGE), join(serving.directory, 'large')]);
      const first = await logOn(0);
      for (const folder of FOLDERS) await all(first, Command.CREATE, [folderBody(folder)]);
      say('read');
      await readMuch();

      const loads: Load[] = Array.from({ length: HOLDERS }, () => ({
        client: first,
        files: [],
        folder: undefined,
      }));
      await withEach(loads, async (load, index) => {
        load.client = await logOn(index);
      });
      say('logged on');
      const large: RawClient[] = [];
      await withEach(Array.from({ length: LARGE_CONNECTIONS }), async (_, i) => {
        large.push(await logOn(i));
      });
      for (let i = 0; i < NAMES; i++) writeFileSync(join(serving.directory, 'waited', `${'n'.repeat(90)}${i}`), '');
      await withEach(loads, open);
      await withEach(loads, beginListing);
      say('opened');
      say(`waiting ${await metric('waiting_requests')}`);
      // Further sessions share connections of others.
      const more = SESSIONS - loads.length - large.length - 1;
      await withEach(loads.slice(0, more), async ({ client }, index) => {
        const { sessionId, signer, treeId } = client;
        client.sessionId = 0n;
        client.signer = undefined;
        if ((await client.logOn(userOf(index), PASSWORD)) !== 0) throw new Error('no second session');
        Object.assign(client, { sessionId, signer, treeId });
      });
      say('changing');
      say(`waiting ${await metric('waiting_requests')}`);
      await makeChanges(first);
      expect(await metric('sessions')).toBeGreaterThanOrEqual(SESSIONS * 0.99);
      expect(await metric('opens')).toBeGreaterThanOrEqual(OPENS * 0.97);
      expect(await metric('waiting_requests')).toBeGreaterThanOrEqual(WAITING * 0.95);

      say('changed');
      const strangers: RawClient[] = [];
      await withEach(Array.from({ length: BEFORE_LOGON }), async () => {
        strangers.push(kept(await RawClient.connect(port)));
      });
      for (const stranger of strangers) sendMost(stranger, 65_536);
      say('strangers');
      // Nobody decides: what is asked for stays with the server.
      serving.signal('sidecar-0', 'SIGSTOP');
      try {
        for (const [index, { client, files }] of loads.entries()) {
          const count =
            Math.floor(((index + 1) * REQUESTS) / loads.length) - Math.floor((index * REQUESTS) / loads.length);
          for (let i = 0; i < count; i++) {
            const fileId = files[i % files.length];
            if (fileId) client.send(Command.LOCK, lockBody(fileId), { credits: 1 });
          }
        }
        for (const client of large) sendMost(client, LARGE);
        await eventually(
          `${IN_FLIGHT} bytes in flight`,
          4000,
          async () => ((await metric('in_flight_bytes')) >= IN_FLIGHT * 0.75 ? true : undefined),
          20,
        );
        const inFlight = await metric('in_flight_bytes');
        if (process.env.HOLDFAST_TEST_LOG) console.log({ inFlight });
      } finally {
        serving.signal('sidecar-0', 'SIGCONT');
      }
      const peak = peakOf(fileServer);
      if (process.env.HOLDFAST_TEST_LOG)
        console.log({ peakMiB: peak / MIB, withKernelMiB: (group?.peak() ?? 0) / MIB });
      expect(peak).toBeLessThan(isWhole ? MEMORY : IDLE + ADDED * PART + UNCOLLECTED);
      expect(serving.pid('fileserver-0')).toBe(fileServer);

      for (const client of [...large, ...strangers]) client.end();
      // Locks were decided, and one more request is.
      await withEach(loads, async ({ client }) => {
        client.end();
      });
      await eventually('somebody else is served', 30_000, async () => {
        const client = await RawClient.loggedOn(port, USER, PASSWORD);
        clients.push(client);
        return (await client.treeConnect('share')) === 0 ? true : undefined;
      });
      expect(serving.pid('fileserver-0')).toBe(fileServer);
    },
    TIMEOUT_MS,
  );

  /** Changes in a folder whose watches are not asked. */
  async function makeChanges(client: RawClient): Promise<void> {
    const long = 'x'.repeat(90);
    const names = Array.from({ length: CHANGES }, (_, i) => fileBody(`unasked\\${long}${i}`));
    for (let at = 0; at < CHANGES; at += SPARE) {
      const opened = await all(client, Command.CREATE, names.slice(at, at + SPARE));
      const fileIds = opened.map((message) => decodeCreateResponse(message).fileId);
      await all(
        client,
        Command.CLOSE,
        fileIds.map((fileId) => encodeCloseRequest({ flags: 0, fileId })),
      );
    }
  }
});
