import { randomBytes } from 'node:crypto';
import { Durability, type OpenRecord } from '../../proto/generated/handles.ts';
import { sampleRecord } from '../../sidecar/testing/file-server.ts';

const NO_BYTES = Buffer.alloc(0);
const RWH = 7;
/** As long as what our file server attaches to an open. */
const ATTACHMENT = Buffer.alloc(40, 1);
const USER = 'S-1-5-21-1004336348-1177238915-682003330-1104';

/** Fields of an open that no client comes back for. */
export const NOT_PERSISTENT: Partial<OpenRecord> = { durability: Durability.NOT_DURABLE, createGuid: NO_BYTES };

/** A persistent open as one from Windows looks: read and write, shared for both, with a lease on everything. */
export function asClientsAsk(path: string, { withLease }: { withLease: boolean }): OpenRecord {
  const createGuid = randomBytes(16);
  const lease = { key: randomBytes(16), state: RWH, epoch: 0, version: 2, parentKey: NO_BYTES, breaking: false };
  const caching: Partial<OpenRecord> = withLease ? { oplock: 4, lease } : {};
  return sampleRecord(path, { createGuid, attachment: ATTACHMENT, user: USER, ...caching });
}
