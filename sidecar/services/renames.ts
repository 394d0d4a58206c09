import { ChurningMap } from '../../common/churning-map.ts';
import { reasonOf } from '../../common/errors.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import {
  type BeginRename,
  Break,
  type EndRename,
  type OpenRecord,
  OplockLevel,
  Outcome,
} from '../../proto/generated/handles.ts';
import { LeaseState, PEER_CALL_TIMEOUT_MS, RETRY_MS } from '../constants.ts';
import type { Components } from './components.ts';
import type { Member } from './member.ts';
import type { Pending } from './pending.ts';

/** A hold on new opens beneath a directory ends by itself after so long (proto/peer.proto). */
const HOLD_MS = 10_000;
/** An open that is decided no sooner waits for somebody who has the file open: it counts as granted. */
const DECIDED_WITHIN_MS = 500;
const LOOK_MS = 2;
/** That a rename has ended is remembered so long: what was looked up before it is asked for much sooner. */
const ENDED_MS = 10_000;
const MOST_ENDED = 10_000;

interface Beneath {
  share: string;
  path: string;
  exceptOpenId: bigint;
}

/** Renames: a file that would be replaced may not be open, a directory may have nothing open beneath it (MS-FSA 2.1.5.15.11). */
export class Renames {
  readonly #is: Components;
  readonly #patienceMs: number;
  /** Directories beneath which no new open is asked for while their rename is decided. */
  readonly #held = new Map<string, number>();
  /** When such renames ended, monotonic ms. */
  readonly #ended = new Map<string, number>();
  /** Opens that are being decided: the table may have them already, and their file server does not know of them yet. */
  readonly #underWay = new ChurningMap<number, OpenRecord>();
  #asked = 0;
  /** Renames of this pod that have begun: what to take back. */
  readonly #begun = new Map<bigint, { replaces: Uint8Array | undefined; beneath: Beneath | undefined }>();

  constructor(components: Components) {
    this.#is = components;
    this.#patienceMs = 2 * components.config.failover.leaseDurationMs;
  }

  async begin(member: Member, request: BeginRename, pending: Pending): Promise<number> {
    const { table, breaks } = this.#is;
    const { outcome } = await breaks.settled(member, request.fileId, pending, (again) =>
      table.change(member.identity, request.fileId, request.openId, 'beginRename', request.to, again),
    );
    if (outcome !== Outcome.GRANTED) return outcome;
    const replaces = request.replacesFileId.length > 0 ? request.replacesFileId : undefined;
    const beneath = request.isDirectory
      ? { share: request.share, path: request.from, exceptOpenId: request.openId }
      : undefined;
    this.#begun.set(request.openId, { replaces: undefined, beneath });
    if (beneath && (await this.#anyBeneath(beneath))) {
      await this.#end(member, request.fileId, request.openId, '');
      return Outcome.OPENS_BENEATH;
    }
    if (replaces) {
      const replaced = await this.#replace(member, replaces, pending);
      if (replaced !== Outcome.GRANTED) {
        await this.#end(member, request.fileId, request.openId, '');
        return replaced;
      }
      this.#begun.set(request.openId, { replaces, beneath });
    }
    return Outcome.GRANTED;
  }

  async end(member: Member, request: EndRename): Promise<number> {
    const outcome = await this.#end(member, request.fileId, request.openId, request.done ? request.to : '');
    if (request.done && outcome === Outcome.GRANTED) {
      const open = member.opens.get(request.openId);
      if (open) {
        const from = open.record.path;
        for (const { record } of member.opensOfFile(open.fileHex)) {
          if (record.path === from) record.path = request.to;
        }
      }
    }
    return outcome;
  }

  /** Is anything beneath this directory open at a file server of this pod? With hold, nothing new will be for a while. */
  async openHere(beneath: Beneath, hold: boolean): Promise<boolean> {
    const key = `${beneath.share}/${beneath.path}/`;
    if (hold) this.#held.set(key, monotonicMs() + HOLD_MS);
    if (this.#underWay.size > 0 && !(await this.#decided(beneath))) return true;
    for (const member of this.#is.cluster.members.values()) {
      const opens = opensBeneath(member, beneath);
      if (opens.some(({ kept }) => !kept)) return true;
      if (opens.length === 0) continue;
      await Promise.all(opens.map((record) => this.#is.delivery.breakAtMember(member, breakOfKept(record))));
      if (opensBeneath(member, beneath).length > 0) return true;
    }
    return false;
  }

  /** Who keeps a handle of the file that is to be replaced is asked to close it (MS-FSA 2.1.5.15.11). */
  async #replace(member: Member, fileId: Uint8Array, pending: Pending): Promise<number> {
    const { table, breaks } = this.#is;
    const outcome = await table.gone(member.identity, fileId, 'replace');
    if (outcome !== Outcome.ACCESS_DENIED) return outcome;
    const { WRITE, READ, HANDLE } = LeaseState;
    const broken = await breaks.settled(member, fileId, pending, (again) =>
      table.breakCaching(member.identity, fileId, { openId: 0n }, { keep: READ | WRITE, waitFor: HANDLE, again }),
    );
    return broken.outcome === Outcome.GRANTED ? table.gone(member.identity, fileId, 'replace') : broken.outcome;
  }

  unhold(beneath: Beneath): void {
    this.#release(`${beneath.share}/${beneath.path}/`);
  }

  /**
   * Decides about an open when no rename of a directory above it is being decided.
   * @param lookedUpMs when its path was looked up; undefined: it is not looked up anew
   * @returns undefined: there was such a rename since then, and the path may lead elsewhere
   */
  async opening<T>(
    record: OpenRecord,
    lookedUpMs: number | undefined,
    decide: () => Promise<T>,
  ): Promise<T | undefined> {
    while (this.#isHeld(record)) await delay(RETRY_MS / 5);
    if (lookedUpMs !== undefined && this.#endedSince(record, lookedUpMs)) return undefined;
    // In the same turn: whoever holds the directory from now on finds it here.
    const place = this.#asked++;
    this.#underWay.set(place, record);
    try {
      return await decide();
    } finally {
      this.#underWay.delete(place);
    }
  }

  #isHeld({ share, path }: OpenRecord): boolean {
    if (this.#held.size === 0) return false;
    const name = `${share}/${path}`;
    for (const [prefix, untilMs] of this.#held) {
      if (monotonicMs() > untilMs) this.#release(prefix);
      else if (name.startsWith(prefix)) return true;
    }
    return false;
  }

  #endedSince({ share, path }: OpenRecord, sinceMs: number): boolean {
    if (this.#ended.size === 0) return false;
    const name = `${share}/${path}`;
    for (let at = name.indexOf('/', share.length + 1); at >= 0; at = name.indexOf('/', at + 1)) {
      const endedMs = this.#ended.get(name.slice(0, at + 1));
      if (endedMs !== undefined && endedMs >= sinceMs) return true;
    }
    return false;
  }

  #release(prefix: string): void {
    const nowMs = monotonicMs();
    this.#held.delete(prefix);
    // Those that ended last come last.
    this.#ended.delete(prefix);
    this.#ended.set(prefix, nowMs);
    for (const [oldest, endedMs] of this.#ended) {
      if (nowMs - endedMs < ENDED_MS && this.#ended.size <= MOST_ENDED) break;
      this.#ended.delete(oldest);
    }
  }

  /** Whether all opens beneath the directory that were being decided are decided by now. */
  async #decided(beneath: Beneath): Promise<boolean> {
    const left = new Set<number>();
    for (const [place, record] of this.#underWay) if (isBeneath(record, beneath)) left.add(place);
    for (const untilMs = monotonicMs() + DECIDED_WITHIN_MS; left.size > 0 && monotonicMs() < untilMs; ) {
      await delay(LOOK_MS);
      for (const place of left) if (!this.#underWay.has(place)) left.delete(place);
    }
    return left.size === 0;
  }

  async #end(member: Member, fileId: Uint8Array, openId: bigint, to: string): Promise<number> {
    const { table, cluster, peers } = this.#is;
    const begun = this.#begun.get(openId);
    this.#begun.delete(openId);
    const { outcome } = await table.change(member.identity, fileId, openId, 'endRename', to);
    if (begun?.replaces) await table.gone(member.identity, begun.replaces, to === '' ? 'keep' : 'gone');
    if (begun?.beneath) {
      const beneath = begun.beneath;
      this.unhold(beneath);
      for (const server of cluster.servers) {
        if (cluster.memberOf(server.serverId) || !cluster.mayLive(`${server.serverId}@${server.epoch}`)) continue;
        peers
          .call(server, (client) => client.unhold, { ...beneath, hold: false }, PEER_CALL_TIMEOUT_MS)
          .catch(() => {});
      }
    }
    return outcome;
  }

  /**
   * Asks every live server, also those that came since the last look. One that cannot be asked counts as a yes until it is fenced, and so does a
   * store that does not say who there is.
   */
  async #anyBeneath(beneath: Beneath): Promise<boolean> {
    const { cluster, peers, registry, log } = this.#is;
    if (await this.openHere(beneath, true)) return true;
    try {
      cluster.look(await registry.list());
    } catch (error) {
      log.info({ reason: reasonOf(error) }, 'it is not known who may have opens beneath a directory');
      return true;
    }
    const untilMs = monotonicMs() + this.#patienceMs;
    const asked = new Set<string>();
    const answers = [...cluster.servers].map(async (server) => {
      const identity = `${server.serverId}@${server.epoch}`;
      if (cluster.memberOf(server.serverId) || asked.has(server.address)) return false;
      asked.add(server.address);
      while (cluster.mayLive(identity)) {
        try {
          return (
            await peers.call(server, (client) => client.opensBeneath, { ...beneath, hold: true }, PEER_CALL_TIMEOUT_MS)
          ).any;
        } catch (error) {
          log.info(
            { server: identity, reason: reasonOf(error) },
            'a server cannot be asked for opens beneath a directory',
          );
          if (monotonicMs() > untilMs) return true;
          await delay(RETRY_MS);
        }
      }
      return false;
    });
    return (await Promise.all(answers)).some(Boolean);
  }
}

function opensBeneath(member: Member, beneath: Beneath): OpenRecord[] {
  const found: OpenRecord[] = [];
  const prefix = `${beneath.path}/`;
  for (const { record } of member.opens.values()) if (isBeneath(record, beneath, prefix)) found.push(record);
  return found;
}

function isBeneath(record: OpenRecord, { share, path, exceptOpenId }: Beneath, prefix = `${path}/`): boolean {
  return record.share === share && record.path.startsWith(prefix) && record.openId !== exceptOpenId;
}

/** Its file server closes it, unless a client has it just now. */
function breakOfKept({ fileId, openId }: OpenRecord): Break {
  const toLevel = OplockLevel.OPLOCK_NONE;
  return Break.create({ fileId, openId, toLevel, fromState: LeaseState.READ, ackRequired: true });
}
