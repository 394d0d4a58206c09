import type { Logger } from '../../common/logging.ts';
import { inSlices } from '../../common/slices.ts';
import { monotonicMs, monotonicNs } from '../../common/time.ts';
import { Durability, OpenState, Outcome } from '../../proto/generated/handles.ts';
import { UNDERSTANDS } from '../constants.ts';
import type { ClusterView } from '../services/cluster.ts';
import type { Member } from '../services/member.ts';
import { NOBODY, parseIdentity } from '../table/keys.ts';
import { shardOfOpen, type Table } from '../table/table.ts';
import type { Ended } from './ended.ts';
import type { Given } from './given.ts';
import type { Life } from './life.ts';
import type { Orphans } from './orphans.ts';
import { isLive, type Registry, type ServerFields, type ServerRecord } from './registry.ts';

const RESTORING_AT_ONCE = 256;

export interface PuttingBackParts {
  table: Table;
  registry: Registry;
  cluster: ClusterView;
  orphans: Orphans;
  ended: Ended;
  given: Given;
  log: Logger;
  leaseDurationMs: number;
  persistentTimeoutMs: number;
  /** Where this sidecar is; the address is known for good once it listens. */
  place: { address: string; pod: string; node: string };
  fenced(member: Member, reason: string): void;
}

/** Puts into closed shards what this sidecar remembers: opens of its file servers, and those of fenced ones in its custody. */
export class PuttingBack {
  readonly #is: PuttingBackParts;
  /** The life of the data that a member was put back into within its lease: nobody can have fenced it before. */
  readonly #inTime = new WeakMap<Member, Life>();
  /** The life that a member was put back into past its lease: not with all that it holds. */
  readonly #late = new WeakMap<Member, Life>();

  constructor(parts: PuttingBackParts) {
    this.#is = parts;
  }

  /** Whether a member was put back within its lease into the life with this tag of a shard. */
  wasInTime(member: Member, tag: string): boolean {
    return this.#inTime.get(member)?.tags.includes(tag) ?? false;
  }

  /** Whether not all that a member holds was put back into this generation of the data, as it was late. */
  wasLate(member: Member, generation: string): boolean {
    return this.#late.get(member)?.generation === generation;
  }

  /** What ended here and others may remember: said before the servers of this pod are back, so before the shards open. */
  async ends(stale: ReadonlySet<number>): Promise<void> {
    const { ended, table } = this.#is;
    await inSlices(ended.of(stale), RESTORING_AT_ONCE, ({ openId, fileId }) => table.ended(fileId, openId));
  }

  /**
   * Opens that only this sidecar may remember, orphans of fenced servers and those that were released, as they were. Their ownership version stays, so that whoever has
   * got one back meanwhile, and has a higher one, keeps it. What was given to a server that has not said that it knows of it is released:
   * if it knows, and has put it back or does so later, it has it (restore.lua).
   */
  async orphans(life: Life, stale: ReadonlySet<number>): Promise<void> {
    const { orphans, given, registry, table, log } = this.#is;
    orphans.keep(
      NOBODY,
      given.inShards(stale).map((open) => ({ ...open, owner: undefined, state: OpenState.RELEASED })),
    );
    for (const owner of orphans.owners) {
      const server = parseIdentity(owner); // undefined: nobody
      if (server) {
        await registry.restore(server, { state: 'fenced', reconciled: '' }, life.tag);
        await Promise.all([...stale].map((shard) => table.fence(shard, server, 'fence', 'alive')));
      }
      const records = [...stale].flatMap((shard) => orphans.of(owner, shard));
      await inSlices(records, RESTORING_AT_ONCE, (record) => table.restore(server, record, 0, 0n, { isStale: true }));
      log.info({ server: owner, opens: records.length }, 'put back what waits for its clients');
    }
  }

  /**
   * @param listed what the store knows of it, or of an earlier life of it
   * @param mayBeLate all others have put their state back, but for those that were late themselves
   */
  async #member(
    member: Member,
    life: Life,
    stale: ReadonlySet<number>,
    listed: ServerRecord | undefined,
    mayBeLate: boolean,
  ): Promise<void> {
    const { registry, table, log } = this.#is;
    const { address, pod, node } = this.#is.place;
    if (member.over || member.reportsExpected > 0) return; // what it holds is still coming
    // A sidecar that was started anew cannot tell what the store had before.
    const isLate = life.isOther && monotonicNs() > member.deadlineNs;
    if (isLate && this.#isTooLate(member)) {
      this.#is.fenced(member, 'the store lost its data, and what it had may be over by now');
      return;
    }
    // After all others, who know whether it was fenced.
    if (isLate && !mayBeLate) {
      if (listed && listed.late !== life.tag) await registry.set(listed, { late: life.tag });
      return;
    }
    const fields = { address, pod, node, smbAddress: member.smbAddress, counter: member.counter, reconciled: '' };
    const more = { understands: UNDERSTANDS, ...{ block: member.ids.number } };
    const replaced = await registry.restore(member.identity, { ...fields, ...more, state: 'active' }, life.tag);
    if (replaced === undefined) {
      this.#is.fenced(member, 'the table knows it as fenced');
      return;
    }
    if (monotonicNs() <= member.deadlineNs) this.#inTime.set(member, life);
    if (isLate) this.#late.set(member, life);
    await Promise.all([...stale].map((shard) => table.fence(shard, member.identity, 'reenter', 'alive', replaced)));
    // Others may have ended what is not persistent while it was silent. Persistent opens wait longer than it was.
    const opens = [...member.opens.values()].filter(
      ({ record }) => stale.has(shardOfOpen(record)) && (!isLate || record.durability === Durability.PERSISTENT),
    );
    await inSlices(opens, RESTORING_AT_ONCE, ({ record, operation, fileHex, isReported }) =>
      table.restore(member.identity, record, operation, member.stateOf(fileHex)?.version ?? 0n, {
        isStale: !life.isComplete,
        isReported,
      }),
    );
    // A name that another server was given meanwhile stays that one's.
    const names = [...member.names.values()].filter(({ directoryId }) =>
      stale.has(table.keys.directory(directoryId).shard),
    );
    await inSlices(names, RESTORING_AT_ONCE, ({ directoryId, name, token }) =>
      table.restoreName(member.identity, directoryId, name, token),
    );
    // From the first decision on: whoever comes to another server has his session here ended first (MS-SMB2 3.3.5.5.3). Else what is being
    // done for it here is done after its client has repeated it there, and an open is left that nobody closes.
    const sessions = [...member.sessions].filter(([sessionId]) => stale.has(table.keys.session(sessionId).shard));
    await inSlices(sessions, RESTORING_AT_ONCE, ([sessionId, { user, clientGuid }]) =>
      table.restoreSession(member.identity, sessionId, user, clientGuid),
    );
    if (!life.isComplete) await this.#forgetClosed(member, stale);
    await registry.set(member.identity, { reconciled: life.tag });
    log.info({ server: member.owner, opens: opens.length }, 'put state back');
  }

  /** What the store has of this server beyond what it holds was closed, and the close was lost. */
  async #forgetClosed(member: Member, stale: ReadonlySet<number>): Promise<void> {
    const { table, log } = this.#is;
    for (const shard of stale) {
      for await (const page of table.owned(shard, member.owner)) {
        for (const { openId, fileId } of page) {
          if (member.opens.has(openId) || member.asking.has(openId)) continue;
          const outcome = await table.forgetClosed(member.identity, fileId, openId);
          if (outcome === Outcome.GRANTED) {
            log.info({ openId: openId.toString(16), server: member.owner }, 'an open whose close was lost is ended');
          }
        }
      }
    }
  }

  /** Those that were seen fenced are fenced in this life too. Said first: one that does not know of it asks last. */
  async markFenced(life: Life, stale: ReadonlySet<number>): Promise<void> {
    const { registry, table } = this.#is;
    for (const server of registry.witness.over()) {
      const fields: ServerFields = { state: 'fenced', reconciled: '', understands: server.understands };
      const isNew = (await registry.restore(server, fields, life.tag)) !== undefined;
      if (isNew) await Promise.all([...stale].map((shard) => table.fence(shard, server, 'fence', 'alive')));
    }
  }

  /** Longer past its deadline than a persistent open waits: its opens may have ended, and others been granted. */
  #isTooLate(member: Member): boolean {
    return monotonicNs() > member.deadlineNs + BigInt(this.#is.persistentTimeoutMs) * 1_000_000n;
  }

  /** Have all servers that may live put their state back? Those of this pod do so here, also those that the store has lost. */
  async isAllBack(life: Life, stale: ReadonlySet<number>, graceUntilMs: number): Promise<boolean> {
    const { registry, cluster, leaseDurationMs } = this.#is;
    const servers = await registry.list();
    const isBack = ({ reconciled }: ServerRecord) => reconciled === life.tag;
    const notBack = servers.filter((server) => mayLive(server) && !isBack(server));
    const mayBeLate = notBack.every(({ late }) => late === life.tag) && monotonicMs() > graceUntilMs;
    const members = [...cluster.members.values()].filter(({ over }) => !over);
    let all = notBack.length === 0;
    for (const member of members) {
      const { serverId, epoch } = member.identity;
      const listed = servers.find((server) => server.serverId === serverId);
      if (listed?.epoch === epoch && isBack(listed)) continue;
      all = false;
      await this.#member(member, life, stale, listed, mayBeLate);
    }
    // Some come late: a server that was seen alive gets another lease, if the store does not know it yet.
    const missing = life.isComplete ? undefined : registry.witness.missing(servers);
    return all && (missing === undefined || monotonicMs() > graceUntilMs + leaseDurationMs);
  }
}

function mayLive(server: ServerRecord): boolean {
  return isLive(server) || server.state === 'fencing';
}
