import { Durability, type OpenRecord, OplockLevel } from '../../proto/generated/handles.ts';

const NOTHING = Buffer.alloc(0);

/** What the server itself asks the table for on behalf of an open that a client has or wants: it does not outlive the server. */
export function onBehalfOf(record: OpenRecord): OpenRecord {
  return {
    ...record,
    openId: 0n,
    durability: Durability.NOT_DURABLE,
    timeoutMs: 0,
    createGuid: NOTHING,
    appInstanceId: NOTHING,
    oplock: OplockLevel.OPLOCK_NONE,
    lease: undefined,
    deleteOnClose: false,
    attachment: NOTHING,
    owner: undefined,
    ownershipVersion: 0n,
    locks: [],
    lockSequences: NOTHING,
    deletePending: false,
  };
}
