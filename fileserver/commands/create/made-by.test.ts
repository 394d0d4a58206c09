import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { OpenReply, Outcome, type Reply, type Request } from '../../../proto/generated/handles.ts';
import { Command, CreateAction, CreateDisposition, Flags, ImpersonationLevel } from '../../../smb/constants.ts';
import { Status } from '../../../smb/status.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../../smb/wire/create.ts';
import { CreateContextName, encodeDH2QRequest } from '../../../smb/wire/create-contexts.ts';
import type { RawClient } from '../../testing/raw-client.ts';
import { ALICE, TestServer } from '../../testing/test-server.ts';

const guid = (number: number) => Buffer.alloc(16, number);

describe('a CREATE whose file was made and whose open was not granted', () => {
  let server: TestServer;
  let client: RawClient;
  /** What the table answers to opens, and to a file that is about to go. */
  let answers: { open: Outcome; ahead: Outcome };

  beforeEach(async () => {
    answers = { open: Outcome.STORE_UNAVAILABLE, ahead: Outcome.STORE_UNAVAILABLE };
    server = await TestServer.start();
    server.sidecar.decide = ({ body }: Request): Partial<Reply> => {
      if (body?.$case === 'findCreate') return { outcome: Outcome.NOT_FOUND };
      if (body?.$case === 'fileGone' && body.value.ahead) return { outcome: answers.ahead };
      if (body?.$case !== 'open') return { outcome: Outcome.GRANTED };
      const { record } = body.value;
      if (answers.open !== Outcome.GRANTED) return { outcome: answers.open };
      return { outcome: Outcome.GRANTED, body: { $case: 'open', value: OpenReply.create({ record }) } };
    };
    client = await server.loggedOn(...ALICE);
    await client.treeConnect('data');
  });
  afterEach(() => server.stop());

  const isThere = () => existsSync(join(server.folder, 'volume', 'file'));

  async function create(createGuid: Buffer | undefined, flags = 0) {
    const data = createGuid && encodeDH2QRequest({ timeoutMs: 0, flags: 0, createGuid });
    const { header, message } = await client.request(
      Command.CREATE,
      encodeCreateRequest({
        requestedOplockLevel: 9,
        impersonationLevel: ImpersonationLevel.IMPERSONATION,
        desiredAccess: 0x12019f,
        fileAttributes: 1,
        shareAccess: 7,
        createDisposition: CreateDisposition.CREATE,
        createOptions: 0,
        name: 'file',
        createContexts: data ? [{ name: CreateContextName.DURABLE_HANDLE_REQUEST_V2, data }] : [],
      }),
      { flags },
    );
    return header.status === Status.SUCCESS ? decodeCreateResponse(message).createAction : header.status;
  }

  test('is known by its replay, and by no other', async () => {
    expect(await create(guid(1))).not.toBe(CreateAction.CREATED);
    expect(isThere()).toBe(true);
    answers.open = Outcome.GRANTED;
    expect(await create(guid(2), Flags.REPLAY_OPERATION)).toBe(Status.OBJECT_NAME_COLLISION);
    expect(await create(guid(1))).toBe(Status.OBJECT_NAME_COLLISION);
    expect(await create(guid(1), Flags.REPLAY_OPERATION)).toBe(CreateAction.CREATED);
  });

  test('leaves nothing behind where nobody can replay it', async () => {
    await create(undefined);
    expect(isThere()).toBe(false);
  });

  describe('that was made half, and whose server died', () => {
    let resumed: Outcome;
    beforeEach(() => {
      answers.open = Outcome.GRANTED;
      resumed = Outcome.NOT_FOUND;
      const decide = server.sidecar.decide;
      server.sidecar.decide = (request) =>
        request.body?.$case === 'resumeCreation' ? { outcome: resumed } : decide(request);
      writeFileSync(join(server.folder, 'volume', 'file'), '');
    });
    const asked = (what: string) => server.sidecar.requests.filter(({ body }) => body?.$case === what).length;

    test('is finished by its replay, which is the only one that asks whether it is its own', async () => {
      expect(await create(guid(1))).toBe(Status.OBJECT_NAME_COLLISION);
      expect(asked('resumeCreation')).toBe(0);
      expect(await create(guid(1), Flags.REPLAY_OPERATION)).toBe(Status.OBJECT_NAME_COLLISION);
      expect(asked('dropReservation')).toBe(0);
      resumed = Outcome.GRANTED;
      expect(await create(guid(1), Flags.REPLAY_OPERATION)).toBe(CreateAction.CREATED);
      expect(asked('dropReservation')).toBe(1);
      // What a CREATE stores with its file is there now: it is known without the table.
      resumed = Outcome.NOT_FOUND;
      server.sidecar.requests.length = 0;
      expect(await create(guid(2), Flags.REPLAY_OPERATION)).toBe(Status.OBJECT_NAME_COLLISION);
      expect(asked('resumeCreation')).toBe(0);
    });

    test('is no file that was made to its end by somebody else', async () => {
      rmSync(join(server.folder, 'volume', 'file'));
      expect(await create(undefined)).toBe(CreateAction.CREATED);
      resumed = Outcome.GRANTED;
      expect(await create(guid(1), Flags.REPLAY_OPERATION)).toBe(Status.OBJECT_NAME_COLLISION);
    });

    test("is nobody's for an older sidecar, which knows nothing of it", async () => {
      resumed = Outcome.INVALID;
      expect(await create(guid(1), Flags.REPLAY_OPERATION)).toBe(Status.OBJECT_NAME_COLLISION);
    });
  });

  test.each([
    ['takes its file away again', Outcome.GRANTED, false],
    ['leaves its file to who has opened it meanwhile', Outcome.ACCESS_DENIED, true],
  ])('and is refused %s', async (_, ahead, stays) => {
    answers = { open: Outcome.SHARING_VIOLATION, ahead };
    expect(await create(guid(1))).toBe(Status.SHARING_VIOLATION);
    expect(isThere()).toBe(stays);
  });
});
