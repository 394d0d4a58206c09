import { hash } from 'node:crypto';
import { SHARDS } from '../constants.ts';
import type { FileKeys } from './packed.ts';

/**
 * Keys as handle-state.md lists them. Parts that are bytes (file ids, session ids) stand in hexadecimal. All keys of a shard share
 * the hash tag {cluster:shard}, so that one script call touches one slot.
 */
export class Keys {
  readonly servers: string;
  readonly epoch: string;
  readonly generation: string;
  /** The life of the data that was opened last: nobody puts anything back into it any more. */
  readonly opened: string;
  /** Fingerprints of the authorities that the sidecars trust each other by: whose store this is. */
  readonly authorities: string;
  /** Version of what is written, and the oldest that can read it. */
  readonly schema: string;
  readonly #shards: string[] = [];
  readonly #cluster: string;

  constructor(clusterId: string) {
    this.#cluster = clusterId;
    this.servers = `hf:{${clusterId}}:servers`;
    this.epoch = `hf:{${clusterId}}:epoch`;
    this.generation = `hf:{${clusterId}}:generation`;
    this.opened = `hf:{${clusterId}}:opened`;
    this.authorities = `hf:{${clusterId}}:authorities`;
    this.schema = `hf:{${clusterId}}:schema`;
    for (let shard = 0; shard < SHARDS; shard++) this.#shards.push(`hf:{${clusterId}:${shard}}:`);
  }

  /** Of all shards, in their order. */
  stores(): string[] {
    return this.#shards.map((_, shard) => this.store(shard));
  }

  inbox(serverId: string): string {
    return `hf:{${this.#cluster}}:inbox:${serverId}`;
  }
  /** What all keys of a shard begin with: up to the colon behind the hash tag. */
  prefix(shard: number): string {
    return this.#shards[shard] ?? '';
  }
  store(shard: number): string {
    return `${this.#shards[shard]}store`;
  }
  /** Opens that have ended, while the shard is closed: nobody may put them back. */
  ended(shard: number): string {
    return `${this.#shards[shard]}ended`;
  }
  fence(shard: number): string {
    return `${this.#shards[shard]}fence`;
  }
  due(shard: number): string {
    return `${this.#shards[shard]}due`;
  }
  /** Of a decision that `owner`, an identity or nobody, has made on a file. */
  ofFile(shard: number, fileId: Uint8Array, owner: string): KeysOfFile {
    return new KeysOfFile(this.prefix(shard), `file:${hex(fileId)}`, owner);
  }
  file(shard: number, fileHex: string): string {
    return `${this.#shards[shard]}file:${fileHex}`;
  }
  own(shard: number, identity: string): string {
    return `${this.#shards[shard]}own:${identity}`;
  }
  directory(directoryId: Uint8Array): { shard: number; key: string } {
    const shard = shardOf(directoryId);
    return { shard, key: `${this.#shards[shard]}dir:${hex(directoryId)}` };
  }
  session(sessionId: bigint): { shard: number; key: string } {
    const shard = shardOfId(sessionId);
    return { shard, key: `${this.#shards[shard]}session:${sessionId.toString(16)}` };
  }
  /** The hint where a persistent open is: by its CreateGuid, under which its client may ask for it without knowing its id. */
  create(createGuid: Uint8Array): string {
    return this.#hint(hex(createGuid));
  }
  /** The hint where an open is that is durable only: a client comes back for it by its id (MS-SMB2 3.3.5.9.7). */
  durable(openId: bigint): string {
    return this.#hint(`id-${openId.toString(16)}`);
  }
  #hint(name: string): string {
    return `${this.#shards[shardOf(Buffer.from(name))]}create:${name}`;
  }
}

class KeysOfFile implements FileKeys {
  readonly prefix: string;
  readonly file: string;
  readonly #owner: string;

  constructor(prefix: string, file: string, owner: string) {
    this.prefix = prefix;
    this.file = file;
    this.#owner = owner;
  }

  all(): string[] {
    const { prefix, file } = this;
    return [`${prefix}store`, `${prefix}fence`, prefix + file, `${prefix}own:${this.#owner}`, `${prefix}due`];
  }
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** The shard of a file, directory or create hint: the first six bits of SHA-256. */
export function shardOf(id: Uint8Array): number {
  return hash('sha256', id, 'binary').charCodeAt(0) >> 2; // a string costs a third of what a buffer does, and less to collect
}

/** The shard within an open id or session id (epoch 28 bits, shard 6, counter 30). */
export function shardOfId(id: bigint): number {
  return Number((id >> 30n) & 63n);
}

export function epochOfId(id: bigint): number {
  return Number(id >> 36n);
}

export function idBytes(id: bigint): Buffer {
  const bytes = Buffer.allocUnsafe(8); // of Node's pool, and written in whole
  bytes.writeBigUInt64BE(id);
  return bytes;
}

export function bytesId(bytes: Buffer): bigint {
  return bytes.readBigUInt64BE(0);
}

/** Identities stand as "serverId@epoch"; "-" is nobody (a released open). */
export interface Identity {
  serverId: string;
  epoch: number;
}
export const NOBODY = '-';

export function identityText(identity: Identity): string {
  return `${identity.serverId}@${identity.epoch}`;
}

export function parseIdentity(text: string): Identity | undefined {
  const at = text.lastIndexOf('@');
  const epoch = Number(text.slice(at + 1));
  if (at < 1 || !Number.isSafeInteger(epoch)) return undefined;
  return { serverId: text.slice(0, at), epoch };
}

/** Hands out open ids of one server: unique for its epoch, also after the sidecar restarted (a new block of 2^20). */
export class OpenIds {
  readonly #epoch: bigint;
  #next: number;
  readonly #end: number;
  /** The block that they are taken from. */
  readonly number: number;

  /** @param block 0 to 1023, handed out by the registry, never twice for an epoch */
  constructor(epoch: number, block: number) {
    this.number = block;
    this.#epoch = BigInt(epoch) << 36n;
    this.#next = block * 2 ** 20 + 1;
    this.#end = (block + 1) * 2 ** 20;
  }

  /** Ids of the same server in another block. */
  block(block: number): OpenIds {
    return new OpenIds(Number(this.#epoch >> 36n), block);
  }

  /** undefined: the block is used up, the server needs another one. */
  next(shard: number): bigint | undefined {
    if (this.#next >= this.#end) return undefined;
    return this.#epoch | (BigInt(shard) << 30n) | BigInt(this.#next++);
  }
}
