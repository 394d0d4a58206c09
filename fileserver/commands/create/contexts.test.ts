import { describe, expect, test } from '@jest/globals';
import { Durability } from '../../../proto/generated/handles.ts';
import { Capabilities, CreateDisposition, Dialect, DurableFlags, OplockLevel } from '../../../smb/constants.ts';
import { FileAccess } from '../../../smb/security/access-mask.ts';
import type { CreateRequest } from '../../../smb/wire/create.ts';
import { encodeDH2QRequest, CreateContextName as Name } from '../../../smb/wire/create-contexts.ts';
import type { Connection } from '../../session/connection.ts';
import { durabilityFor, wishesOf } from './contexts.ts';

const { PERSISTENT_HANDLES } = Capabilities;
const { NOT_DURABLE, DURABLE, PERSISTENT } = Durability;
const PERSISTENT_MS = 400_000;
const DURABLE_MS = 60_000;

/** What a file is opened with that is asked for by version 2 of a durable handle. */
function granted(asked: {
  persistent?: boolean;
  batch?: boolean;
  isDirectory?: boolean;
  timeoutMs?: number;
  continuouslyAvailable?: boolean;
  capabilities?: number;
}) {
  const { persistent = true, batch = true, continuouslyAvailable = true, capabilities = PERSISTENT_HANDLES } = asked;
  const flags = persistent ? DurableFlags.PERSISTENT : 0;
  const data = encodeDH2QRequest({ timeoutMs: asked.timeoutMs ?? 0, flags, createGuid: Buffer.alloc(16, 1) });
  const create: CreateRequest = {
    requestedOplockLevel: batch ? OplockLevel.BATCH : OplockLevel.NONE,
    impersonationLevel: 2,
    desiredAccess: FileAccess.read,
    fileAttributes: 0,
    shareAccess: 7,
    createDisposition: CreateDisposition.OPEN,
    createOptions: 0,
    name: 'f',
    createContexts: [{ name: Name.DURABLE_HANDLE_REQUEST_V2, data }],
  };
  return durabilityFor(create, wishesOf(create, Dialect.SMB_3_1_1), {
    connection: { serverCapabilities: capabilities } as Connection,
    continuouslyAvailable,
    isDirectory: asked.isDirectory ?? false,
    persistentTimeoutMs: PERSISTENT_MS,
    durableTimeoutMs: DURABLE_MS,
  });
}

describe('a handle that is asked for as persistent', () => {
  test.each([
    ['is that on a continuously available share', {}, PERSISTENT],
    ['whatever it caches', { batch: false }, PERSISTENT],
    ['and of directories', { isDirectory: true }, PERSISTENT],
    ['is durable on another share', { continuouslyAvailable: false }, DURABLE],
    ['and nothing where it caches no handle', { continuouslyAvailable: false, batch: false }, NOT_DURABLE],
    ['or is of a directory', { continuouslyAvailable: false, isDirectory: true }, NOT_DURABLE],
    ['is durable on a connection that knows no persistent ones', { capabilities: 0 }, DURABLE],
  ])('%s', (_what, asked, durability) => {
    expect(granted(asked).durability).toBe(durability);
  });
});

describe('a handle that is asked for as durable', () => {
  test.each([
    ['is that on every share', {}, DURABLE],
    ['if it caches the handle', { batch: false }, NOT_DURABLE],
  ])('%s', (_what, asked, durability) => {
    expect(granted({ ...asked, persistent: false }).durability).toBe(durability);
  });
});

test.each([
  ['what the cluster says where nothing is asked for', 0, DURABLE_MS, PERSISTENT_MS],
  ['what is asked for', 5000, 5000, 5000],
  ['no longer than is allowed', 3600_000, 300_000, PERSISTENT_MS],
])('a handle waits for its client: %s', (_what, timeoutMs, durable, persistent) => {
  expect(granted({ persistent: false, timeoutMs }).timeoutMs).toBe(durable);
  expect(granted({ persistent: true, timeoutMs }).timeoutMs).toBe(persistent);
});
