import { X509Certificate } from 'node:crypto';
import type { StoreConfig } from '../../common/config.ts';
import { delay } from '../../common/time.ts';
import { SCHEMA } from '../constants.ts';
import type { Keys } from '../table/keys.ts';
import type { Store } from '../table/store.ts';
import type { Registry, ServerRecord } from './registry.ts';

const CERTIFICATES = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;
const LOOKS_PER_LEASE = 5;

export interface PossessionParts {
  store: Store;
  config: StoreConfig;
  keys: Keys;
  registry: Registry;
  leaseDurationMs: number;
  /** The authorities that sidecars of this cluster trust each other by (PEM); read anew, they are replaced in place. */
  authorities(): Buffer;
}

/**
 * Whether what is in the store is this cluster's, and of a version that can be read. Two clusters can get the same id (a copy of one, two
 * machines that serve the same path) but never the same authority: the store names those of its sidecars.
 */
export class Possession {
  readonly #is: PossessionParts;
  #accepted: readonly string[] = [];

  constructor(parts: PossessionParts) {
    this.#is = parts;
  }

  /** @returns why this store may not be used, and what to do; undefined: it may, and says whose it is */
  async refusal(): Promise<string | undefined> {
    const { store, keys, config } = this.#is;
    const at = config.addresses.join(', ');
    await store.data.set(keys.schema, String(SCHEMA), 'NX');
    const schema = Number(await store.data.get(keys.schema));
    if (schema > SCHEMA) {
      return `the store at ${at} is written by a newer version (schema ${schema}, this one knows ${SCHEMA}); upgrade all file servers to it`;
    }
    const own = fingerprints(this.#is.authorities());
    const stored = await store.data.smembers(keys.authorities);
    // Those that this sidecar was accepted with, too: an authority is replaced while everything runs.
    const isOurs = stored.length === 0 || [...own, ...this.#accepted].some((authority) => stored.includes(authority));
    if (!isOurs) {
      const alive = await this.#aliveServer();
      if (alive) {
        return `the store at ${at} is in use by another cluster with the same id: its server ${alive.serverId} (pod ${alive.pod}) is alive and trusts another authority; name another Redis, or end the other cluster`;
      }
      await store.data.del(keys.authorities);
    }
    const missing = isOurs ? own.filter((authority) => !stored.includes(authority)) : own;
    if (missing.length > 0) await store.data.sadd(keys.authorities, ...missing);
    this.#accepted = own;
    return undefined;
  }

  /** A server of the store whose renewals go on; none within a lease: those that were there have ended. */
  async #aliveServer(): Promise<ServerRecord | undefined> {
    const { registry, leaseDurationMs } = this.#is;
    const isThere = ({ state }: ServerRecord) => state === 'active' || state === 'draining';
    const before = new Map((await registry.list()).filter(isThere).map((server) => [server.serverId, server]));
    for (let look = 0; before.size > 0 && look < LOOKS_PER_LEASE; look++) {
      await delay(leaseDurationMs / LOOKS_PER_LEASE);
      const alive = (await registry.list()).filter(isThere).find((server) => {
        const known = before.get(server.serverId);
        return known === undefined || known.epoch !== server.epoch || known.counter !== server.counter;
      });
      if (alive) return alive;
    }
    return undefined;
  }
}

/** SHA-256 of each certificate. @param pem one or several */
function fingerprints(pem: Buffer): string[] {
  return (pem.toString('latin1').match(CERTIFICATES) ?? []).map((text) => new X509Certificate(text).fingerprint256);
}
