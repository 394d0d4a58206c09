import { delay } from '../../common/time.ts';
import { PEER_CALL_TIMEOUT_MS } from '../constants.ts';
import { parseIdentity } from '../table/keys.ts';
import type { Components } from './components.ts';
import type { Peer } from './peers.ts';

/**
 * Where the owner of an open is asked, as the table named it just now. That may be newer than what this pod saw last of the servers (one
 * that came, or came back under another epoch): then they are looked at anew.
 * @returns undefined when it is being fenced, was replaced, or nobody says where it is: the table has more to say of it soon
 * @throws when the servers cannot be read
 */
export async function peerOf({ cluster, registry }: Components, owner: string): Promise<Peer | undefined> {
  const identity = parseIdentity(owner);
  if (!identity) return undefined;
  if (cluster.server(identity.serverId)?.epoch !== identity.epoch) {
    const looked = registry.list().then((servers) => cluster.look(servers));
    await Promise.race([looked, delay(PEER_CALL_TIMEOUT_MS)]);
  }
  const server = cluster.server(identity.serverId);
  return server && cluster.mayLive(owner) ? { ...identity, address: server.address } : undefined;
}
