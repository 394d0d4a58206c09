import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseAddress } from '../../client/connect/address.ts';
import { Client } from '../../client/index.ts';
import { RawClient } from '../../fileserver/testing/raw-client.ts';
import {
  ChangeNotifyFlags,
  Command,
  CompletionFilter,
  CreateDisposition,
  CreateOptions,
  FileAccess,
  FileAction,
  Flags,
} from '../../smb/constants.ts';
import { decodeNotifyList } from '../../smb/fscc/notify.ts';
import { Status } from '../../smb/status.ts';
import { encodeCancelRequest } from '../../smb/wire/cancel.ts';
import { decodeChangeNotifyResponse, encodeChangeNotifyRequest } from '../../smb/wire/change-notify.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import type { Header } from '../../smb/wire/header.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';
import { RawOpen, send } from './raw-requests.ts';

const TEST_TIMEOUT_MS = 60_000;
const ALL = 0xfff;
const NAMES = CompletionFilter.FILE_NAME | CompletionFilter.DIR_NAME;

interface Told {
  status: number;
  /** "action name" each. */
  changes: string[];
}

/** A directory that a client has open to watch it. */
class Watched {
  readonly #open: RawOpen;

  private constructor(open: RawOpen) {
    this.#open = open;
  }

  static async open(client: Client, name: string): Promise<Watched> {
    return new Watched(await RawOpen.open(client, name, { createOptions: CreateOptions.DIRECTORY_FILE }));
  }

  async next(
    options: { recursive?: boolean; filter?: number; size?: number; signal?: AbortSignal } = {},
  ): Promise<Told> {
    const { recursive = false, filter = ALL, size = 4096, signal } = options;
    const body = encodeChangeNotifyRequest({
      flags: recursive ? ChangeNotifyFlags.WATCH_TREE : 0,
      outputBufferLength: size,
      fileId: this.#open.fileId,
      completionFilter: filter,
    });
    const { status, message } = await send(this.#open.client, Command.CHANGE_NOTIFY, body, signal);
    const output = status === Status.SUCCESS ? decodeChangeNotifyResponse(message).output : Buffer.alloc(0);
    return { status, changes: decodeNotifyList(output).map(({ action, fileName }) => `${action} ${fileName}`) };
  }

  /** Every change up to (and with) the one that is waited for. */
  async until(last: string, options: { recursive?: boolean; filter?: number } = {}): Promise<string[]> {
    const all: string[] = [];
    while (!all.includes(last)) {
      const { status, changes } = await this.next(options);
      expect(status).toBe(Status.SUCCESS);
      all.push(...changes);
    }
    return all;
  }

  async close(): Promise<void> {
    await this.#open.close();
  }
}

describe('change notifications with two file servers', () => {
  let serving: Serving;
  const clients: Client[] = [];
  let here: Client;
  let there: Client;

  beforeAll(async () => {
    serving = await Serving.start({ servers: 2 });
    for (const address of serving.addresses) {
      clients.push(await Client.connect({ addresses: address, user: USER, password: PASSWORD, share: 'share' }));
    }
    [here, there] = clients as [Client, Client];
  }, 60_000);

  afterAll(async () => {
    await Promise.all(clients.map((client) => client.close().catch(() => {})));
    await serving?.stop();
  }, 30_000);

  async function makeFile(client: Client, path: string): Promise<void> {
    await (await client.open(path, { disposition: 'create', access: 'write' })).close();
  }

  test.each(['here', 'there'])(
    'names that come, change and go %s are told',
    async (where) => {
      const actor = where === 'here' ? here : there;
      const directory = `names-${where}`;
      await here.mkdir(directory);
      const watched = await Watched.open(here, directory);
      const first = watched.next({ filter: NAMES });
      // Something of this server's own is told when the watch has begun, and so do the other servers know of it.
      await makeFile(here, `${directory}/begin`);
      expect(await first).toEqual({ status: Status.SUCCESS, changes: [`${FileAction.ADDED} begin`] });
      await makeFile(actor, `${directory}/file`);
      await actor.rename(`${directory}/file`, `${directory}/renamed`);
      await actor.mkdir(`${directory}/sub`);
      await makeFile(actor, `${directory}/sub/unseen`);
      await actor.remove(`${directory}/renamed`);
      expect(await watched.until(`${FileAction.REMOVED} renamed`, { filter: NAMES })).toEqual([
        `${FileAction.ADDED} file`,
        `${FileAction.RENAMED_OLD_NAME} file`,
        `${FileAction.RENAMED_NEW_NAME} renamed`,
        `${FileAction.ADDED} sub`,
        `${FileAction.REMOVED} renamed`,
      ]);
      await watched.close();
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'changes of the other server beneath subdirectories are told who watches the tree',
    async () => {
      await here.mkdir('tree');
      await here.mkdir('tree/a');
      const watched = await Watched.open(here, 'tree');
      const first = watched.next({ recursive: true });
      await here.mkdir('tree/begin');
      await first;
      const file = await there.open('tree/a/file', { disposition: 'create', access: 'write' });
      await file.write(0, Buffer.from('data'));
      await file.close();
      const told = await watched.until(`${FileAction.MODIFIED} a\\file`, { recursive: true });
      expect(told).toContain(`${FileAction.ADDED} a\\file`);
      await watched.close();
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'more changes of the other server than there is room for tell the client to look for itself',
    async () => {
      await here.mkdir('many');
      const watched = await Watched.open(here, 'many');
      const first = watched.next({ filter: NAMES, size: 200 });
      await makeFile(here, 'many/begin');
      await first;
      for (let i = 0; i < 20; i++) await makeFile(there, `many/file-with-a-long-name-${i}`);
      let told: Told;
      do {
        told = await watched.next({ filter: NAMES, size: 200 });
      } while (told.status === Status.SUCCESS && !told.changes.some((change) => change.endsWith('-19')));
      expect(told.status).toBe(Status.NOTIFY_ENUM_DIR);
      await watched.close();
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'the other server removing the watched directory ends the watch',
    async () => {
      await here.mkdir('doomed');
      const watched = await Watched.open(here, 'doomed');
      const first = watched.next();
      await here.mkdir('doomed/begin');
      await first;
      await there.remove('doomed/begin');
      await watched.until(`${FileAction.REMOVED} begin`);
      const last = watched.next();
      await there.remove('doomed');
      expect((await last).status).toBe(Status.DELETE_PENDING);
      await watched.close();
    },
    TEST_TIMEOUT_MS,
  );

  test.each(['here', 'there'])(
    'who begins to watch a directory that was marked to be deleted %s is told so',
    async (where) => {
      const name = `marked-${where}`;
      await here.mkdir(name);
      const watched = await Watched.open(here, name);
      const createOptions = CreateOptions.DIRECTORY_FILE | CreateOptions.DELETE_ON_CLOSE;
      const marking = await RawOpen.open(where === 'here' ? here : there, name, {
        access: FileAccess.DELETE,
        createOptions,
      });
      await marking.close();
      expect((await watched.next()).status).toBe(Status.DELETE_PENDING);
      await watched.close();
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'CLOSE ends a request that waits',
    async () => {
      await here.mkdir('ends');
      const watched = await Watched.open(here, 'ends');
      const waiting = watched.next();
      await watched.close();
      expect((await waiting).status).toBe(Status.NOTIFY_CLEANUP);
    },
    TEST_TIMEOUT_MS,
  );

  test.each([
    ['AsyncId', ({ asyncId }: Header) => ({ flags: Flags.ASYNC_COMMAND, asyncId })],
    ['MessageId', ({ messageId }: Header) => ({ messageId })],
  ])(
    'CANCEL takes one request back by its %s, and no other',
    async (what, named) => {
      const directory = `cancels-${what}`;
      await here.mkdir(directory);
      const client = await RawClient.loggedOn(parseAddress(serving.addresses[0] ?? '').port, USER, PASSWORD);
      try {
        await client.treeConnect('share');
        const opened = await client.request(Command.CREATE, directoryBody(directory));
        const { fileId } = decodeCreateResponse(opened.message);
        const [kept, cancelled] = [
          await client.request(Command.CHANGE_NOTIFY, notifyBody(fileId)),
          await client.request(Command.CHANGE_NOTIFY, notifyBody(fileId)),
        ];
        expect([kept.header.status, cancelled.header.status]).toEqual([Status.PENDING, Status.PENDING]);
        expect(cancelled.header.credits).toBeGreaterThan(0);
        client.send(Command.CANCEL, encodeCancelRequest(), { credits: 0, messageId: 0, ...named(cancelled.header) });
        const { header } = await client.receive();
        // The interim response had granted what was asked for (MS-SMB2 3.3.4.1.2).
        expect(header).toMatchObject({ status: Status.CANCELLED, messageId: cancelled.header.messageId, credits: 0 });
        await makeFile(here, `${directory}/new`);
        expect((await client.receive()).header).toMatchObject({
          ...{ status: Status.SUCCESS, messageId: kept.header.messageId, credits: 0 },
        });
      } finally {
        client.end();
      }
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'a client is told to look for itself when a server that it watches is killed',
    async () => {
      await here.mkdir('loss');
      const watched = await Watched.open(here, 'loss');
      const first = watched.next({ filter: NAMES });
      await makeFile(here, 'loss/begin');
      await first;
      const next = watched.next({ filter: NAMES });
      await serving.kill('sidecar-1');
      expect((await next).status).toBe(Status.NOTIFY_ENUM_DIR);
      await watched.close();
    },
    TEST_TIMEOUT_MS,
  );
});

function directoryBody(name: string): Buffer {
  return encodeCreateRequest({
    ...{ requestedOplockLevel: 0, impersonationLevel: 2, desiredAccess: FileAccess.FILE_GENERIC_READ, name },
    ...{ fileAttributes: 0, shareAccess: 7, createDisposition: CreateDisposition.OPEN, createContexts: [] },
    createOptions: CreateOptions.DIRECTORY_FILE,
  });
}

function notifyBody(fileId: FileId): Buffer {
  return encodeChangeNotifyRequest({ flags: 0, outputBufferLength: 4096, fileId, completionFilter: NAMES });
}
