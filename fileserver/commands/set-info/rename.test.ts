import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { OpenReply, Outcome, type Reply, type Request } from '../../../proto/generated/handles.ts';
import { Command, CreateDisposition, ImpersonationLevel, InfoType } from '../../../smb/constants.ts';
import { FileInfoClass } from '../../../smb/fscc/constants.ts';
import { fileRenameInformation } from '../../../smb/fscc/file-info.ts';
import { Status } from '../../../smb/status.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../../smb/wire/create.ts';
import { encodeSetInfoRequest } from '../../../smb/wire/set-info.ts';
import { ALICE, TestServer } from '../../testing/test-server.ts';

let server: TestServer;
beforeEach(async () => {
  server = await TestServer.start();
});
afterEach(() => server.stop());

test('a name that another server is at for long is asked for again', async () => {
  let busy = 0;
  server.sidecar.decide = ({ body }: Request): Partial<Reply> => {
    if (body?.$case === 'reserve' && busy-- > 0) return { outcome: Outcome.NAME_BUSY };
    if (body?.$case !== 'open') return { outcome: Outcome.GRANTED };
    const { record } = body.value;
    return { outcome: Outcome.GRANTED, body: { $case: 'open', value: OpenReply.create({ record }) } };
  };
  const client = await server.loggedOn(...ALICE);
  await client.treeConnect('data');
  const { message } = await client.request(
    Command.CREATE,
    encodeCreateRequest({
      requestedOplockLevel: 0,
      impersonationLevel: ImpersonationLevel.IMPERSONATION,
      desiredAccess: 0x13019f,
      fileAttributes: 0,
      shareAccess: 7,
      createDisposition: CreateDisposition.CREATE,
      createOptions: 0,
      name: 'old',
      createContexts: [],
    }),
  );
  const { fileId } = decodeCreateResponse(message);
  busy = 2;
  const { header } = await client.request(
    Command.SET_INFO,
    encodeSetInfoRequest({
      infoType: InfoType.FILE,
      fileInfoClass: FileInfoClass.rename,
      additionalInformation: 0,
      fileId,
      input: fileRenameInformation.encode({ replaceIfExists: false, rootDirectory: 0n, fileName: 'new' }),
    }),
  );
  expect(header.status).toBe(Status.SUCCESS);
  expect(existsSync(join(server.folder, 'volume', 'new'))).toBe(true);
});
