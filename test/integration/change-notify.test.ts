import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Client } from '../../client/index.ts';
import {
  ChangeNotifyFlags,
  Command,
  CompletionFilter,
  CreateOptions,
  FileAccess,
  FileAction,
} from '../../smb/constants.ts';
import { decodeNotifyList } from '../../smb/fscc/notify.ts';
import { Status } from '../../smb/status.ts';
import { decodeChangeNotifyResponse, encodeChangeNotifyRequest } from '../../smb/wire/change-notify.ts';
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
    'CLOSE ends a request that waits, and CANCEL takes it back',
    async () => {
      await here.mkdir('ends');
      const watched = await Watched.open(here, 'ends');
      const cancelled = new AbortController();
      const request = watched.next({ signal: cancelled.signal });
      cancelled.abort();
      await expect(request).rejects.toMatchObject({ code: 'ABORTED' });
      const waiting = watched.next();
      await watched.close();
      expect((await waiting).status).toBe(Status.NOTIFY_CLEANUP);
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
