import { createHash } from 'node:crypto';
import { delay, monotonicMs } from '../../common/time.ts';
import {
  type Creation,
  Durability,
  type FindCreate,
  type Open,
  type OpenRecord,
  OpenReply,
  OplockLevel,
  Outcome,
  type Reserve,
} from '../../proto/generated/handles.ts';
import { MAX_ATTACHMENT_BYTES, MAX_FILE_ID_BYTES, MAX_PATH_BYTES, RETRY_MS, Understanding } from '../constants.ts';
import { hex, shardOf } from '../table/keys.ts';
import { ownerOf } from '../table/records.ts';
import type { OpenDecision } from '../table/table.ts';
import type { AppInstances } from './app-instances.ts';
import type { Components } from './components.ts';
import type { Endings } from './endings.ts';
import type { Member } from './member.ts';
import type { Pending } from './pending.ts';

/** Between two tries to drop a name while the store is away. */
const DROP_RETRY_MS = 200;

const nameKey = (directoryId: Uint8Array, name: string): string => `${hex(directoryId)} ${name}`;

/** Opens: asked for, granted, remembered. */
export class Opens {
  readonly #is: Components;
  readonly #endings: Endings;
  readonly #instances: AppInstances;
  /** How long a name may stay reserved by a server that is neither there nor fenced yet. */
  readonly #patienceMs: number;

  constructor(components: Components, endings: Endings, instances: AppInstances) {
    this.#is = components;
    this.#endings = endings;
    this.#instances = instances;
    const { leaseDurationMs, writeSettleMs } = components.config.failover;
    this.#patienceMs = 2 * leaseDurationMs + writeSettleMs + 2000;
  }

  async open(member: Member, request: Open, pending: Pending): Promise<{ outcome: number; reply?: OpenReply }> {
    const record = request.record;
    if (!record || !isSound(record)) return { outcome: Outcome.INVALID };
    if (record.appInstanceId.length > 0) {
      const outcome = await this.#instances.takeOver(member, record, pending);
      if (outcome !== Outcome.GRANTED) return { outcome };
    }
    const shard = shardOf(record.fileId);
    const openId = member.ids.next(shard) ?? (await this.#nextInAnotherBlock(member, shard));
    if (openId === undefined) return { outcome: Outcome.FENCED };
    record.openId = openId;
    const guid = hex(record.createGuid);
    member.asking.add(openId);
    if (guid !== '') member.askingGuids.add(guid);
    let decision: OpenDecision;
    try {
      decision = await this.#decide(member, record, request, pending);
      if (decision.outcome === Outcome.DUPLICATE_OBJECTID) {
        decision = (await this.#askedBefore(member, record, pending)) ?? decision;
      }
    } finally {
      member.asking.delete(openId);
      member.askingGuids.delete(guid);
    }
    if (decision.outcome !== Outcome.GRANTED || !decision.record || !decision.state)
      return { outcome: decision.outcome };
    const granted = decision.record;
    member.add(granted, decision.operation);
    let state = member.takeState(decision.state);
    if (decision.push.length > 0) {
      if (!(await this.#is.delivery.pushState(decision.state, decision.push))) {
        // Somebody may still change the file without breaking: no caching then.
        const dropped = await this.#is.table.state(member.identity, granted.fileId, 'drop', openId);
        if (dropped.state) state = member.takeState(dropped.state);
        granted.oplock = OplockLevel.OPLOCK_NONE;
        granted.lease = undefined;
      }
    }
    if (request.drop) void this.dropName(member, request.drop.directoryId, request.drop.name);
    // As it is now: the answer leaves with others, and a break may change the open before.
    const answered = { ...granted, lease: granted.lease && { ...granted.lease } };
    return { outcome: Outcome.GRANTED, reply: { record: answered, fileState: state, replayed: false, renamingTo: '' } };
  }

  /** Is there an open with this CreateGuid already (MS-SMB2 3.3.5.9.10)? */
  async find(member: Member, request: FindCreate): Promise<{ outcome: number; reply?: OpenReply }> {
    const { table } = this.#is;
    if (request.createGuid.length !== 16 || request.clientGuid.length !== 16) return { outcome: Outcome.INVALID };
    const fileId = await table.hinted(request);
    if (!fileId) return { outcome: Outcome.NOT_FOUND };
    const found = await table.find(
      member.identity,
      fileId,
      Buffer.concat([request.createGuid, request.clientGuid]),
      0n,
    );
    if (found.outcome !== Outcome.GRANTED) return { outcome: found.outcome };
    if (found.record?.user !== request.user) return { outcome: Outcome.ACCESS_DENIED };
    return {
      outcome: Outcome.GRANTED,
      reply: OpenReply.create({ record: found.record, replayed: true, fileState: found.state }),
    };
  }

  /** The open waits for its client whatever it caches (MS-SMB2 3.3.5.15.9). */
  async makeResilient(
    member: Member,
    fileId: Uint8Array,
    openId: bigint,
    timeoutMs: number,
    sessionId: bigint | undefined,
  ): Promise<number> {
    const outcome = await this.#is.table.resilient(member.identity, fileId, openId, timeoutMs);
    const open = member.opens.get(openId);
    if (open && outcome === Outcome.GRANTED) {
      const { record } = open;
      if (record.kept && sessionId !== undefined) {
        record.kept = undefined;
        member.giveTo(sessionId, open);
      }
      if (record.durability !== Durability.PERSISTENT) record.durability = Durability.RESILIENT;
      record.timeoutMs = timeoutMs;
    }
    return outcome;
  }

  /** Whoever holds the name is in the middle of a few system calls, or its server stands still or is cut off: then it is fenced soon. */
  async reserveName(
    member: Member,
    what: 'reserve' | 'resume',
    { directoryId, name, creation }: Reserve,
    { id, pending }: { id: bigint; pending: Pending },
  ): Promise<{ outcome: number; elsewhere: boolean }> {
    const invalid = { outcome: Outcome.INVALID, elsewhere: false };
    if (!isId(directoryId) || name.length === 0) return invalid;
    if (creation ? !isGuid(creation.createGuid) || !isGuid(creation.clientGuid) : what === 'resume') return invalid;
    const token = creation ? `${id} ${creationText(creation)}` : String(id);
    const untilMs = monotonicMs() + this.#patienceMs;
    for (let waitMs = 5; ; waitMs = Math.min(2 * waitMs, RETRY_MS)) {
      const decision = await this.#is.table.name(member.identity, what, directoryId, name, token, (late) => {
        // The file server was told STORE_UNAVAILABLE meanwhile.
        if (late !== Outcome.GRANTED) return;
        void this.#letGo(member, what === 'resume' ? 'leave' : 'drop', { directoryId, name, token });
      });
      const { outcome } = decision;
      if (outcome === Outcome.GRANTED) member.names.set(nameKey(directoryId, name), { directoryId, name, token });
      if (outcome !== Outcome.NAME_BUSY || pending.cancelled || monotonicMs() > untilMs) return decision;
      if (waitMs === RETRY_MS) pending.interim();
      await delay(waitMs);
    }
  }

  /** Resolves when the table has it: until then the file server asks again, if this sidecar ends. */
  dropName(member: Member, directoryId: Uint8Array, name: string): Promise<void> {
    const key = nameKey(directoryId, name);
    const token = member.names.get(key)?.token ?? ''; // '': it was reserved in an earlier life of this sidecar
    member.names.delete(key);
    return this.#letGo(member, 'drop', { directoryId, name, token });
  }

  /** Until the store has done it: a name that stays reserved is nobody's until this server ends. */
  async #letGo(
    member: Member,
    how: 'drop' | 'leave',
    { directoryId, name, token }: { directoryId: Uint8Array; name: string; token: string },
  ): Promise<void> {
    const { table, log } = this.#is;
    while (!member.over && !table.store.hasEnded) {
      try {
        await table.name(member.identity, how, directoryId, name, token);
        return;
      } catch (error) {
        log.info({ err: error }, 'a name is still reserved: letting go of it again');
        await delay(DROP_RETRY_MS);
      }
    }
  }

  /**
   * The file server asks again for what it had asked an earlier process of this sidecar for, whose answer was lost: the table holds the open,
   * and nobody knows of it.
   */
  async #askedBefore(member: Member, asked: OpenRecord, pending: Pending): Promise<OpenDecision | undefined> {
    if (member.isSettling) {
      pending.interim();
      await member.settled;
    }
    const guids = Buffer.concat([asked.createGuid, asked.clientGuid]);
    const found = await this.#is.table.find(member.identity, asked.fileId, guids, 0n);
    const { record } = found;
    if (!record || member.opens.has(record.openId) || member.asking.has(record.openId)) return undefined;
    const isSame =
      ownerOf(record) === member.owner &&
      record.sessionId === asked.sessionId &&
      record.access === asked.access &&
      record.path === asked.path;
    return isSame ? found : undefined;
  }

  #decide(member: Member, record: OpenRecord, request: Open, pending: Pending): Promise<OpenDecision> {
    const { truncates, guidAgain = false } = request;
    const { table, breaks, cluster, log } = this.#is;
    const mayBeFleeting = cluster.understanding >= Understanding.FLEETING;
    return breaks.settled(member, record.fileId, pending, (again) =>
      table.open(member.identity, record, { truncates, again, guidAgain, mayBeFleeting }, (late) => {
        // The file server was told STORE_UNAVAILABLE meanwhile: nobody knows of this open.
        if (late.outcome !== Outcome.GRANTED) return;
        log.info({ openId: record.openId.toString(16) }, 'an open was granted too late and is closed again');
        this.#endings.close(member, record.fileId, record.openId).catch(() => {});
      }),
    );
  }

  async #nextInAnotherBlock(member: Member, shard: number): Promise<bigint | undefined> {
    return (await this.#anotherBlock(member)) ? member.ids.next(shard) : undefined;
  }

  async #anotherBlock(member: Member): Promise<boolean> {
    const block = await this.#is.registry.nextBlock(member.identity);
    if (block === undefined || block > 1023) return false;
    member.ids = member.ids.block(block);
    return true;
  }
}

/** What a creation is known by where a name is reserved for it: no longer for any user, and without a space. */
function creationText({ createGuid, clientGuid, user }: Creation): string {
  return createHash('sha256').update(createGuid).update(clientGuid).update(user).digest('base64');
}

const isGuid = (bytes: Uint8Array): boolean => bytes.length === 16;

function isId(bytes: Uint8Array): boolean {
  return bytes.length > 0 && bytes.length <= MAX_FILE_ID_BYTES;
}

function isSound(record: OpenRecord): boolean {
  return (
    isId(record.fileId) &&
    (record.createGuid.length === 0 || record.createGuid.length === 16) &&
    record.clientGuid.length <= 16 &&
    isSoundCaching(record) &&
    record.attachment.length <= MAX_ATTACHMENT_BYTES &&
    record.path.length <= MAX_PATH_BYTES &&
    record.durability >= Durability.NOT_DURABLE &&
    record.durability <= Durability.PERSISTENT &&
    (record.durability === Durability.NOT_DURABLE || record.timeoutMs > 0)
  );
}

/** A lease is asked for with its client's guid: both together name it. */
function isSoundCaching({ oplock, lease, clientGuid }: OpenRecord): boolean {
  if (oplock !== OplockLevel.OPLOCK_LEASE) return lease === undefined && oplock >= 0 && oplock <= 3;
  if (lease === undefined || clientGuid.length !== 16) return false;
  const { key, state, epoch, version, parentKey } = lease;
  const isParent = parentKey.length === 0 || parentKey.length === 16;
  return key.length === 16 && state <= 7 && epoch <= 0xffff && (version === 1 || version === 2) && isParent;
}
