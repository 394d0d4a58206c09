import { reasonOf } from '../../common/errors.ts';
import { monotonicMs, monotonicNs } from '../../common/time.ts';
import { UNDERSTANDS } from '../constants.ts';
import type { Identity, Keys } from '../table/keys.ts';
import type { Answer, Argument } from '../table/packed.ts';
import { listAt, numberAt, textAt } from '../table/records.ts';
import { scriptsFor } from '../table/scripts.ts';
import type { Store } from '../table/store.ts';
import { StoreUnavailableError, toldPlainly } from '../table/store-errors.ts';
import { Witness } from './witness.ts';

/** Keys of registry.lua. */
const KEYS = 5;
/** An answer: too late for that, the shards were opened. */
const CLOSED = 100;
/** A registration waits so long for the shards, less than a file server waits for its answer; then it asks again. */
const OPEN_WITHIN_MS = 2000;

export type ServerState = 'active' | 'draining' | 'fencing' | 'fenced' | 'gone';

/** What became of the durable opens of a pod that left, counted. */
export interface HandedOver {
  moved: number;
  released: number;
  expired: number;
  left: number;
}

/** A server as the cluster knows it. */
export interface ServerRecord {
  serverId: string;
  epoch: number;
  state: ServerState;
  /** Raised by each renewal; compared before anybody may fence. */
  counter: number;
  /** host:port of its sidecar. */
  address: string;
  smbAddress: string;
  pod: string;
  node: string;
  /** Store ("run_id:generation") that it has put its state back into. */
  reconciled: string;
  /** The store that it puts its state back into last: its lease had run out, and others may know that it was fenced. */
  late: string;
  /** Who fences it, and whether it merely went silent. */
  by: string;
  silent: boolean;
  /** Its pod goes away. */
  leaving: boolean;
  /** How long promises of its peers may extend its lease, ms. */
  extensionMs: number;
  /** Once its pod has left: whoever asks later learns how that went from any of its peers. */
  handedOver: HandedOver | undefined;
  /** The highest epoch when it was renewed, as far as it has heard the answer: later servers it may not ask. */
  knows: number;
  /** What its sidecar understands of the store, see UNDERSTANDS; 0: a version that does not say. */
  understands: number;
}

/** Whether it may serve, or fence: neither fenced nor being fenced. */
export function isLive({ state }: ServerRecord): boolean {
  return state === 'active' || state === 'draining';
}

/** Whether it is done with: nothing that it asks for is decided any more. */
export function isOver({ state }: Pick<ServerRecord, 'state'>): boolean {
  return state === 'fenced' || state === 'gone';
}

export type ServerFields = Partial<
  Pick<
    ServerRecord,
    | 'address'
    | 'smbAddress'
    | 'pod'
    | 'node'
    | 'reconciled'
    | 'late'
    | 'state'
    | 'counter'
    | 'leaving'
    | 'extensionMs'
    | 'knows'
    | 'handedOver'
    | 'understands'
  >
>;

export interface Renewal {
  valid: boolean;
  servers: ServerRecord[];
  inbox: Buffer[];
  runId: string;
  generation: string;
  /** That was handed out until then. */
  highestEpoch: number;
}

/** The hash of servers, over the connection for renewals. It works while the shards are closed. */
export class Registry {
  readonly #store: Store;
  readonly #keys: Keys;
  readonly #script = scriptsFor('registry').registry;
  /** What was seen of all servers. */
  readonly witness = new Witness();
  #readMs = Number.NEGATIVE_INFINITY;
  /** The highest epoch seen. Unlike what the witness knows it outlives each life of the data. */
  #highest = 0;

  /** The life of the data that was opened last. */
  #life = { tag: '', runIds: '' };

  constructor(store: Store, keys: Keys) {
    this.#store = store;
    this.#keys = keys;
  }

  /**
   * A new incarnation: the next epoch. Only while the shards are open: before that, live servers may have epochs of which the store has
   * not heard yet.
   * @returns it, the epoch that it replaces (0: none), and when it was asked for, monotonic
   * @throws StoreUnavailableError when the shards are not open in the life that this sidecar serves with
   */
  async register(serverId: string, fields: ServerFields): Promise<{ epoch: number; replaced: number; sentNs: bigint }> {
    await this.#store.untilOpen(OPEN_WITHIN_MS);
    const sentNs = monotonicNs();
    const { tag, runIds } = this.#life;
    const said = { ...fields, understands: UNDERSTANDS };
    const answer = await this.#call(serverId, 0, 'register', said, tag, this.#highest, runIds);
    if (answer[0] === CLOSED) {
      this.#store.close(); // it has changed since, or it would not say so
      throw new StoreUnavailableError('register', 'the state of other servers is being put back');
    }
    const epoch = numberAt(answer, 1);
    this.saw(epoch);
    return { epoch, replaced: numberAt(answer, 2), sentNs };
  }

  /** When the store last said who is there, monotonic ms. */
  get readMs(): number {
    return this.#readMs;
  }

  /** The shards are open in this life of the data, which is in these Redis processes. */
  serveWith(tag: string, runIds: Iterable<string>): void {
    this.#life = { tag, runIds: [...runIds].join() };
  }

  /** An epoch was handed out, by this store or by what it was before: never again, whatever the store has lost. */
  saw(epoch: number): void {
    this.#highest = Math.max(this.#highest, epoch);
  }

  /** Goes on under its epoch after a restart of the sidecar. @returns undefined when it was fenced, 'lost': the store does not know it */
  async resume(me: Identity, fields: ServerFields): Promise<{ block: number; state: string } | 'lost' | undefined> {
    const answer = await this.#call(me.serverId, me.epoch, 'resume', { ...fields, understands: UNDERSTANDS });
    if (answer[0] === 0) return 'lost';
    return answer[0] === 1 ? { block: numberAt(answer, 1), state: textAt(answer, 2) } : undefined;
  }

  /** Another block of open ids. @returns undefined when it was fenced */
  async nextBlock(me: Identity): Promise<number | undefined> {
    const resumed = await this.resume(me, {});
    return resumed === 'lost' ? undefined : resumed?.block;
  }

  /**
   * Puts a server back into a store that has lost it, while its shards are closed.
   * @param life the tag of the life of the data that it is put back into
   * @returns the epoch that it replaces there (0: none), or undefined when the store knows better: it was fenced
   * @throws StoreUnavailableError when it comes too late: the shards were opened
   */
  async restore(me: Identity, fields: Partial<ServerRecord>, life: string): Promise<number | undefined> {
    const answer = await this.#call(me.serverId, me.epoch, 'restore', { ...fields, epoch: me.epoch }, life);
    if (answer[0] === CLOSED) throw new StoreUnavailableError('restore', 'the shards were opened meanwhile');
    return answer[0] === 1 ? numberAt(answer, 1) : undefined;
  }

  /**
   * All that may live have put their state back into this life of the data, and nobody may from now on: its shards can be opened, by
   * whoever asks. @returns false: somebody's is missing
   */
  async mayOpen(life: string, generation: string): Promise<boolean> {
    return (await this.#call('', 0, 'open', { generation }, life))[0] === 1;
  }

  /** @returns with the Redis process that renewed it, and the life of the data in it */
  async renew(me: Identity, fields: ServerFields): Promise<Renewal> {
    const answer = await this.#call(me.serverId, me.epoch, 'renew', fields);
    const servers = this.#observe(listAt(answer, 1), true);
    const [runId, generation] = [textAt(answer, 3), textAt(answer, 4)];
    const highestEpoch = answer[0] === 1 ? numberAt(answer, 5) : 0;
    return { valid: answer[0] === 1, servers, inbox: listAt(answer, 2) as Buffer[], runId, generation, highestEpoch };
  }

  async set(me: Identity, fields: ServerFields): Promise<boolean> {
    return (await this.#call(me.serverId, me.epoch, 'set', fields))[0] === 1;
  }

  /** @param counter the one seen unchanged, or -1 with a proof of death. @returns whether it is being fenced now, by whomever */
  async beginFencing(
    server: Identity,
    counter: number,
    by: string,
    silent: boolean,
  ): Promise<{ began: boolean; state: string }> {
    const answer = await this.#call(server.serverId, server.epoch, 'fencing', { counter, by, silent });
    return { began: answer[0] === 1, state: textAt(answer, 1) };
  }

  async endFencing(server: Identity): Promise<void> {
    await this.#call(server.serverId, server.epoch, 'fenced', {});
  }

  async forget(server: Identity): Promise<void> {
    await this.#call(server.serverId, server.epoch, 'forget', {});
  }

  async list(): Promise<ServerRecord[]> {
    return this.#observe(listAt(await this.#call('', 0, 'list', {}), 1));
  }

  /**
   * What the store has lost of what was seen here, for people; undefined: nothing. Compared before the next answer is seen: that one may
   * know more than this, and has lost nothing.
   * @param isOtherLife of the data than the one that this sidecar has served with
   */
  async contradiction(isOtherLife: boolean): Promise<string | undefined> {
    const flat = listAt(await this.#call('', 0, 'list', {}), 1);
    const lost = this.witness.contradicts(readServers(flat), readForgotten(flat), isOtherLife);
    this.#observe(flat);
    return lost;
  }

  /**
   * All servers, at a time at which they could have renewed: while replicas are missing nobody can, and silence proves nothing.
   * @throws StoreUnavailableError then
   */
  async look(): Promise<ServerRecord[]> {
    const servers = await this.list();
    await this.#store.settled(this.#keys.servers);
    this.witness.observe(servers);
    return servers;
  }

  /** Leaves a message for a server that its peers cannot reach; its next renewal returns it. */
  async leaveMessage(serverId: string, message: Uint8Array): Promise<void> {
    await this.#store.lease.rpush(this.#keys.inbox(serverId), Buffer.from(message));
  }

  /** @param isSettled what was read cannot be lost: before its replicas have it a primary may be replaced by one that never had */
  #observe(flat: Answer, isSettled = !this.#store.isReplicated): ServerRecord[] {
    const servers = readServers(flat);
    this.#readMs = monotonicMs();
    if (isSettled) this.witness.observe(servers);
    for (const { epoch } of servers) this.saw(epoch);
    return servers;
  }

  async #call(serverId: string, epoch: number, what: string, fields: object, ...more: Argument[]): Promise<Answer> {
    const connection = this.#store.lease as unknown as {
      evalshaBuffer(sha: string, keys: number, ...rest: Argument[]): Promise<Answer>;
      evalBuffer(text: string, keys: number, ...rest: Argument[]): Promise<Answer>;
    };
    const rest = [
      this.#keys.servers,
      this.#keys.epoch,
      this.#keys.inbox(serverId),
      this.#keys.generation,
      this.#keys.opened,
      serverId,
      epoch,
      what,
      JSON.stringify(fields),
      ...more,
    ];
    const changes = what !== 'list';
    if (changes) await this.#store.accepted();
    let answer: Answer;
    try {
      answer = await connection.evalshaBuffer(this.#script.sha, KEYS, ...rest);
    } catch (error) {
      if (!reasonOf(error).includes('NOSCRIPT')) throw toldPlainly(error);
      answer = await connection.evalBuffer(this.#script.text, KEYS, ...rest);
    }
    if (changes) await this.#store.settled(this.#keys.servers);
    return answer;
  }
}

function readServers(flat: Answer): ServerRecord[] {
  const servers: ServerRecord[] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) {
    try {
      const fields = JSON.parse(textAt(flat, i + 1)) as Partial<ServerRecord>;
      if (typeof fields.epoch !== 'number') continue;
      servers.push({
        counter: 0,
        state: 'active',
        address: '',
        smbAddress: '',
        pod: '',
        node: '',
        reconciled: '',
        late: '',
        by: '',
        silent: false,
        leaving: false,
        extensionMs: 0,
        knows: 0,
        understands: 0,
        ...fields,
        handedOver: readHandedOver(fields.handedOver),
        epoch: fields.epoch,
        serverId: textAt(flat, i),
      });
    } catch {
      // A record that a newer version wrote and this one cannot read is left alone.
    }
  }
  return servers;
}

/** The highest epoch of those that are not there any more because they were forgotten (registry.lua). */
function readForgotten(flat: Answer): number {
  for (let i = 0; i + 1 < flat.length; i += 2) {
    if (textAt(flat, i) !== '#forgotten') continue;
    try {
      const { forgotten } = JSON.parse(textAt(flat, i + 1)) as { forgotten?: unknown };
      return typeof forgotten === 'number' ? forgotten : 0;
    } catch {
      return 0;
    }
  }
  return 0;
}

function readHandedOver(value: unknown): HandedOver | undefined {
  const counts = value as Partial<Record<keyof HandedOver, unknown>> | undefined;
  const [moved, released, expired, left] = [counts?.moved, counts?.released, counts?.expired, counts?.left].map(
    (count) => (Number.isSafeInteger(count) && (count as number) >= 0 ? (count as number) : undefined),
  );
  if (moved === undefined || released === undefined || expired === undefined || left === undefined) return undefined;
  return { moved, released, expired, left };
}
