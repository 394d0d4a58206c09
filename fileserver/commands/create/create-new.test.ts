import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { OpenReply, Outcome } from '../../../proto/generated/handles.ts';
import { Command, CreateDisposition } from '../../../smb/constants.ts';
import { Status } from '../../../smb/status.ts';
import { createOf } from '../../testing/create-of.ts';
import type { RawClient } from '../../testing/raw-client.ts';
import { ALICE, TestServer } from '../../testing/test-server.ts';
import { NameCache } from '../../volume/name-cache.ts';

let under: TestServer;
let client: RawClient;
/** What the sidecar says of who reserves a name. */
let elsewhere: boolean;

beforeEach(async () => {
  elsewhere = false;
  under = await TestServer.start();
  under.sidecar.decide = ({ id, body }) => {
    if (body?.$case === 'reserve')
      return { outcome: Outcome.GRANTED, body: { $case: 'reserved', value: { elsewhere } } };
    if (body?.$case !== 'open') return { outcome: Outcome.GRANTED };
    const record = body.value.record && { ...body.value.record, openId: id };
    return { outcome: Outcome.GRANTED, body: { $case: 'open', value: OpenReply.fromPartial({ record }) } };
  };
  client = await under.loggedOn(...ALICE);
  await client.treeConnect('data');
});
afterEach(() => under.stop());

async function create(name: string, createDisposition: number): Promise<number> {
  return (await client.request(Command.CREATE, createOf(name, { createDisposition }))).header.status;
}

test('a name that another server gave at the moment at which this one made a file beside it is not given again', async () => {
  const volume = join(under.folder, 'volume');
  expect(await create('free', CreateDisposition.OPEN)).toBe(Status.OBJECT_NAME_NOT_FOUND); // the directory has been looked at
  const { changing } = NameCache.prototype;
  jest.spyOn(NameCache.prototype, 'changing').mockImplementationOnce(function (this: NameCache, inode) {
    writeFileSync(join(volume, 'Goal'), ''); // as another server does
    return changing.call(this, inode);
  });
  expect(await create('own', CreateDisposition.CREATE)).toBe(Status.SUCCESS);
  elsewhere = true;
  expect(await create('GOAL', CreateDisposition.CREATE)).toBe(Status.OBJECT_NAME_COLLISION);
  expect(readdirSync(volume).filter((name) => /goal/i.test(name))).toEqual(['Goal']);
});
