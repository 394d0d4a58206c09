import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { AskedSpan } from '../../common/asked-traces.ts';
import { reasonOf } from '../../common/errors.ts';
import { chunks, inSlices, inTurns } from '../../common/slices.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { type TraceRequest, traceIdOf } from '../../common/tracing.ts';
import { MigrationProgress } from '../../proto/generated/control.ts';
import { ComingOpen, Durability, type OpenRecord, OpenState, Outcome } from '../../proto/generated/handles.ts';
import { RECORD_BATCH, TRANSFER_BATCH } from '../constants.ts';
import type { Components } from '../services/components.ts';
import type { Endings } from '../services/endings.ts';
import type { Member } from '../services/member.ts';
import { Internal, shardOfOpen } from '../table/table.ts';
import { Assignment, pickTargets, type Target } from './targets.ts';
import { Telling } from './telling.ts';

/** In-flight requests of one session get so long; an open whose change takes longer is left behind and follows when it returned. */
const QUIESCE_MS = 1000;
const RELEASE_TIMEOUT_MS = 10_000;
/** How often a file server is asked for an open whose change does not return. */
const UNFINISHED_ASKED_MS = 3000;
const PREPARE_TIMEOUT_MS = 6000;
/** So long a handoff waits for the store before it gives up; what asked for it asks again. */
const STORE_AWAY_MS = 30_000;
/** And where nothing is held that could be lost: enough for another primary, and no long wait where the store went with its whole cluster. */
const STORE_AWAY_EMPTY_MS = 10_000;
/** Sessions on the move at once: few, so that each client's pause is short. */
const SESSIONS_AT_ONCE = 4;
/** Calls that prepare one target at once: it looks the names of one up while the next is on its way. */
const PREPARED_AT_ONCE = 2;
/** Batches of one session that the store is asked to move at once. */
const BATCHES_AT_ONCE = 64;
/** So many sessions of a migration have a span of their own: thousands tell nobody more. */
const SESSIONS_TRACED = 64;
const RETRY_MS = 100;
const ROUND_MS = 10;
/** Kept back from the timeout for releasing what could not be moved. */
const RELEASE_RESERVE_MS = 1500;

/** What belongs together on the move: a session's opens, or opens without one. */
interface Group {
  /** 0n: no session (their clients are away already). */
  sessionId: bigint;
  opens: OpenRecord[];
}

/** One planned handoff away from a file server of this pod: the source's side of handoff.md. Every step may be repeated. */
export class Migration {
  readonly id: string;
  readonly progress: MigrationProgress;
  readonly #is: Components;
  readonly #endings: Endings;
  readonly #wanted: string[];
  readonly #timeoutMs: number;
  readonly #assignment = new Assignment();
  readonly #members = new Set<Member>();
  #startedMs = monotonicMs();
  #untilMs = Number.POSITIVE_INFINITY;
  #leaving: boolean;
  /** Durable opens; undefined: all. */
  readonly #maxOpens: number | undefined;
  #targets: Target[] = [];
  readonly #telling: Telling;
  #prepared = false;
  #cancelled = false;
  #sessionsTraced = 0;
  onProgress: (progress: MigrationProgress) => void = () => {};

  constructor(
    components: Components,
    endings: Endings,
    request: {
      migrationId: string;
      targetPods: string[];
      timeoutMs: number;
      leaving: boolean;
      maxOpens?: bigint | undefined;
    },
  ) {
    this.#is = components;
    this.#endings = endings;
    this.id = request.migrationId;
    this.#wanted = request.targetPods;
    this.#leaving = request.leaving;
    this.#maxOpens = request.maxOpens === undefined ? undefined : Number(request.maxOpens);
    this.#timeoutMs = request.timeoutMs;
    this.#telling = new Telling(components, request.migrationId);
    this.progress = MigrationProgress.create({ phase: 'Preparing' });
  }

  get leaving(): boolean {
    return this.#leaving;
  }

  cancel(): void {
    this.#cancelled = true;
  }

  /** Another request for what runs already: it has to suit both. */
  join(request: { timeoutMs: number; leaving: boolean }): void {
    this.#leaving ||= request.leaving;
    this.#untilMs = Math.min(this.#untilMs, monotonicMs() + request.timeoutMs);
  }

  /** Step 2: the targets look the names up ahead. Nothing moves yet. */
  async prepare(members: Member[], trace?: TraceRequest): Promise<void> {
    const span = this.#is.traces.start('prepare targets', trace);
    try {
      await this.#prepare(members, span.request);
      span.end({ opens: Number(this.progress.total), targets: this.#targets.length });
    } catch (error) {
      span.end({}, reasonOf(error));
      throw error;
    }
  }

  async #prepare(members: Member[], trace: TraceRequest | undefined): Promise<void> {
    await this.#lookForTargets();
    let total = 0;
    for (const member of members) {
      const byTarget = new Map<Target, OpenRecord[]>();
      for (const group of this.#share(groups(member))) {
        const durable = group.opens.filter(isDurable);
        total += durable.length;
        const target = this.#assignment.targetOf(group.sessionId, this.#targets);
        const opens = target && byTarget.get(target);
        if (opens) for (const open of durable) opens.push(open);
        else if (target) byTarget.set(target, durable);
      }
      await Promise.all([...byTarget].map(([target, opens]) => this.#prepareTarget(member, target, opens, trace)));
    }
    this.progress.total = BigInt(total);
    this.#prepared = true;
    this.#say('Preparing');
  }

  /**
   * Steps 4 to 6 for all members that are there.
   * @param trace who wants spans of it
   * @returns the outcome; progress.done is set
   */
  async run(members: () => Member[], trace?: TraceRequest): Promise<MigrationProgress> {
    const span = this.#is.traces.start('hand over', trace);
    this.#startedMs = monotonicMs();
    this.#untilMs = this.#startedMs + this.#timeoutMs;
    try {
      if (!this.#prepared) await this.prepare(members(), span.request);
      let leaving: boolean;
      do {
        leaving = this.#leaving;
        for (const member of members()) await this.#leave(member, span.request);
      } while (leaving !== this.#leaving); // one who leaves has joined meanwhile: nothing may come back any more
      await this.#telling.ended(); // this pod may end as soon as it is said to be done
      this.#settle();
      this.progress.message = this.#summary();
      this.progress.phase = this.#cancelled ? 'Cancelled' : 'Done';
    } catch (error) {
      this.#is.log.error({ err: error, migration: this.id, traceId: traceIdOf(this.id) }, 'a handoff failed');
      this.progress.phase = 'Failed';
      this.#settle();
      this.progress.message = reasonOf(error);
    }
    this.progress.done = true;
    this.progress.durationMs = Math.round(monotonicMs() - this.#startedMs);
    span.end(countsOf(this.progress), this.progress.phase === 'Failed' ? this.progress.message : undefined);
    this.onProgress(this.progress);
    this.#is.log.info({ migration: this.id, traceId: traceIdOf(this.id), ...plain(this.progress) }, 'handoff ended');
    return this.progress;
  }

  /** Sessions were served on, so opens came and went: what was to be moved is known at the end. */
  #settle(): void {
    let left = 0;
    for (const member of this.#members) {
      for (const { record } of member.opens.values()) if (isDurable(record)) left++;
    }
    const { moved, released, expired } = this.progress;
    this.progress.left = BigInt(left);
    this.progress.total = moved + released + expired + this.progress.left;
  }

  async #leave(member: Member, trace: TraceRequest | undefined): Promise<void> {
    this.#members.add(member);
    if (member.over) return;
    await member.settled; // after a restart of this sidecar: what is resumed then must not be what is quiesced here
    if (this.#leaving) {
      member.draining = true;
      const state = { state: 'draining', leaving: true } as const;
      await this.#patiently('saying that it leaves', () => this.#is.registry.set(member.identity, state));
      await this.#command(member, () => member.stream?.ask({ $case: 'stopAccepting', value: {} }, RELEASE_TIMEOUT_MS));
    }
    const following: Promise<void>[] = [];
    // Sessions that are not quiesced yet are served on, and may open more: go round until nothing is left.
    for (let last = false; !last && !member.over && !this.#cancelled; ) {
      last = this.#isOver() || !this.#leaving; // who does not leave may have clients back at once: one round is what was asked for
      const todo = this.#share(groups(member).filter((group) => isMovable(member, group)));
      if (todo.length === 0) break;
      await inTurns(todo, SESSIONS_AT_ONCE, async (group) => {
        if (this.#cancelled) return;
        await this.#moveTraced(member, group, following, trace);
        await this.#telling.room();
      });
      await delay(ROUND_MS);
    }
    if (following.length === 0) return;
    const over = new AbortController();
    const time = delay(Math.max(0, this.#untilMs - monotonicMs()), over.signal).catch(() => {});
    await Promise.race([Promise.all(following), time]).finally(() => over.abort());
  }

  /** What of it is asked for. One who leaves has to give everything away, whoever asked for less before. */
  #share(all: Group[]): Group[] {
    if (this.#leaving || this.#maxOpens === undefined) return all;
    return shareOf(all, this.#maxOpens - Number(this.progress.moved));
  }

  async #moveTraced(
    member: Member,
    group: Group,
    following: Promise<void>[],
    trace: TraceRequest | undefined,
  ): Promise<void> {
    const isTraced = this.#sessionsTraced++ < SESSIONS_TRACED;
    const span = this.#is.traces.start('hand a session over', isTraced ? trace : undefined);
    try {
      await this.#move(member, group, following, span);
      span.end({ opens: group.opens.length });
    } catch (error) {
      span.end({}, reasonOf(error));
      throw error;
    }
  }

  /** One session: quiesce, transfer, release. Its client's pause is what happens here. */
  async #move(member: Member, group: Group, following: Promise<void>[], span: AskedSpan): Promise<void> {
    const { metrics, log } = this.#is;
    const beganMs = performance.now();
    const { sessionId } = group;
    const trace = span.request;
    const unfinished = new Set<bigint>();
    if (sessionId !== 0n && member.sessions.has(sessionId)) {
      this.#say('Quiescing');
      member.unfinished.expect(group.opens.map(({ openId }) => openId));
      const answer = await this.#command(member, () =>
        member.stream?.ask(
          { $case: 'quiesce', value: { sessionIds: [sessionId], timeoutMs: QUIESCE_MS, trace } },
          QUIESCE_MS + RELEASE_TIMEOUT_MS,
        ),
      );
      metrics.handoffSteps.labels('quiesce', answer ? 'ok' : 'failed').inc();
      if (!answer) return; // not quiesced: nothing may move; the next round tries again
      const body = answer.body?.value;
      for (const openId of body?.unfinishedOpenIds ?? []) {
        unfinished.add(openId);
        following.push(this.#follow(member, openId));
      }
    }
    this.#say('Transferring');
    // What the session has open is known for certain only now.
    const opens = opensOf(member, sessionId);
    const movable = opens.filter((record) => isDurable(record) && !unfinished.has(record.openId));
    const moved = await this.#handOver(member, sessionId, movable, trace);
    span.event('transferred', { opens: moved.length });
    if (sessionId !== 0n) {
      member.sessions.delete(sessionId);
      await this.#is.table
        .session(member.identity, 'end', sessionId)
        .catch((error: unknown) => log.info({ err: error }, 'session record stays'));
    }
    this.#say('Releasing');
    const released = await this.#command(member, () =>
      member.stream?.ask(
        {
          $case: 'release',
          value: {
            openIds: moved.map((record) => record.openId),
            sessionIds: sessionId === 0n ? [] : [sessionId],
            trace,
          },
        },
        RELEASE_TIMEOUT_MS,
      ),
    );
    metrics.handoffSteps.labels('release', released ? 'ok' : 'failed').inc();
    metrics.handoffSeconds.observe((performance.now() - beganMs) / 1000);
    // Opens that are not durable end with their connection; the file server says nothing more about them.
    if (sessionId === 0n) return;
    for (const record of opens) if (!isDurable(record)) await this.#close(member, record);
    if (released) await this.#moveLate(member, sessionId, new Set(opens.map(({ openId }) => openId)), trace);
    this.progress.sessions++;
  }

  /**
   * What was still being decided when the session's opens were looked at, and was granted before it was released: its file server has
   * dropped it with the session. (What is granted later it ends itself.)
   */
  async #moveLate(
    member: Member,
    sessionId: bigint,
    seen: ReadonlySet<bigint>,
    trace: TraceRequest | undefined,
  ): Promise<void> {
    const late = opensOf(member, sessionId).filter(({ openId }) => !seen.has(openId));
    await this.#handOver(member, sessionId, late.filter(isDurable), trace);
    for (const record of late) if (!isDurable(record)) await this.#close(member, record);
  }

  async #close(member: Member, { fileId, openId }: OpenRecord): Promise<void> {
    const { close } = await this.#endings.close(member, fileId, openId);
    if (close.remove) await this.#endings.removeFile(member, fileId, close.share, close.path);
  }

  /** An open whose change had not returned: it follows when the file server says that it has, or, asked, lets go of the open. */
  async #follow(member: Member, openId: bigint): Promise<void> {
    const asked = new AbortController();
    const returned = member.unfinished.whenReturned(openId);
    await Promise.race([returned, this.#askUntilGone(member, openId, asked.signal)]);
    asked.abort();
    if (member.unfinished.has(openId)) member.unfinished.returned(openId);
    const open = member.opens.get(openId);
    if (!open || member.over) return;
    const moved = await this.#handOver(member, open.record.sessionId, [open.record]);
    if (moved.length === 0) return;
    await this.#command(member, () =>
      member.stream?.ask({ $case: 'release', value: { openIds: [openId], sessionIds: [] } }, RELEASE_TIMEOUT_MS),
    );
  }

  /** Resolves when the file server holds the open no more: then nothing of it is in flight either. */
  async #askUntilGone(member: Member, openId: bigint, signal: AbortSignal): Promise<void> {
    for (;;) {
      await delay(UNFINISHED_ASKED_MS, signal).catch(() => {});
      const open = member.opens.get(openId);
      if (signal.aborted || !open || member.over) return;
      this.#is.log.info({ migration: this.id, openId: openId.toString(16) }, 'a change has not returned yet');
      const value = { fileId: open.record.fileId, openId };
      const answer = await member.stream?.ask({ $case: 'dropOpen', value }, RELEASE_TIMEOUT_MS).catch(() => undefined);
      if (answer?.ok) return;
    }
  }

  /**
   * Step 5: changes the owner of opens, shard by shard. Until the outcome is known they stay quiesced, so a lost answer is asked for again.
   * @returns those that are no longer this server's
   */
  async #handOver(member: Member, sessionId: bigint, opens: OpenRecord[], trace?: TraceRequest): Promise<OpenRecord[]> {
    const target = this.#isOver() ? undefined : this.#assignment.targetOf(sessionId, this.#targets);
    const gone: OpenRecord[] = [];
    const transferred: OpenRecord[] = [];
    const released: OpenRecord[] = [];
    const owner = target && { serverId: target.serverId, epoch: BigInt(target.epoch) };
    await inSlices(inBatches(opens), BATCHES_AT_ONCE, async (batch) => {
      const { outcomes, to } = await this.#handOverBatch(member, batch, target);
      const theirs: OpenRecord[] = [];
      let moved = 0;
      let expired = 0;
      for (let i = 0; i < batch.length; i++) {
        const record = batch[i] as OpenRecord;
        const outcome = outcomes[i];
        if (outcome === Outcome.GRANTED) {
          moved++;
          if (to) theirs.push({ ...record, owner, ownershipVersion: record.ownershipVersion + 1n });
          else released.push(record);
        } else if (outcome === Outcome.NOT_FOUND || outcome === Internal.STALE) expired++;
        else continue;
        gone.push(record);
        member.remove(record.openId);
      }
      // Remembered here until the target says that it knows of them: from the moment at which they are this server's no more.
      if (to) this.#is.given.add(to.identity, theirs);
      for (const open of theirs) transferred.push(open);
      this.#count(to ? 'moved' : 'released', moved);
      this.#count('expired', expired);
    });
    if (target && transferred.length > 0) this.#telling.begin(sourceOf(member), target, transferred, trace);
    if (released.length > 0) void this.#is.custodians.passOnReleased(released);
    return gone;
  }

  async #handOverBatch(
    member: Member,
    batch: OpenRecord[],
    target: Target | undefined,
  ): Promise<{ outcomes: number[]; to: Target | undefined }> {
    const { table, custodians, metrics, log } = this.#is;
    const shard = shardOfOpen(batch[0] as OpenRecord);
    let to = target;
    for (;;) {
      try {
        const outcomes = await (to
          ? table.letGo(member.identity, shard, batch, to.identity)
          : custodians.release(member, batch));
        if (typeof outcomes !== 'number') {
          metrics.handoffSteps.labels('transfer', 'ok').inc();
          return { outcomes, to };
        }
        metrics.handoffSteps.labels('transfer', 'refused').inc();
        if (outcomes === Outcome.FENCED) return { outcomes: [], to };
        // The target was fenced meanwhile: whoever is left may claim.
        log.warn(
          { migration: this.id, target: to?.identity, outcome: outcomes },
          'the target takes nothing: releasing instead',
        );
        if (to === undefined) return { outcomes: [], to };
        to = undefined;
      } catch (error) {
        metrics.handoffSteps.labels('transfer', 'failed').inc();
        log.warn({ err: error, migration: this.id }, 'the outcome of a transfer is not known yet');
        if (member.over) return { outcomes: [], to };
        await delay(RETRY_MS);
      }
    }
  }

  async #prepareTarget(
    member: Member,
    target: Target,
    opens: OpenRecord[],
    trace: TraceRequest | undefined,
  ): Promise<void> {
    const batches = chunks(opens, RECORD_BATCH);
    let isOut = false;
    await inTurns(batches.entries(), PREPARED_AT_ONCE, async ([i, batch]) => {
      if (isOut) return;
      const request = {
        migrationId: this.id,
        source: sourceOf(member),
        targetServerId: target.serverId,
        opens: packedComing(batch),
        more: i + 1 < batches.length,
        trace,
      };
      try {
        const reply = await this.#is.peers.call(target, (client) => client.prepare, request, PREPARE_TIMEOUT_MS);
        this.#is.metrics.handoffSteps.labels('prepare', reply.ok ? 'ok' : 'refused').inc();
        if (reply.ok) return;
        this.#is.log.warn({ target: target.identity, reason: reply.reason }, 'a target refuses');
      } catch (error) {
        this.#is.metrics.handoffSteps.labels('prepare', 'failed').inc();
        this.#is.log.warn({ target: target.identity, reason: reasonOf(error) }, 'a target cannot be prepared');
      }
      isOut = true;
      this.#targets = this.#targets.filter((other) => other !== target);
    });
  }

  async #lookForTargets(): Promise<void> {
    const { registry, cluster } = this.#is;
    const own = new Set([...cluster.members.values()].map((member) => member.identity.serverId));
    const servers = await this.#patiently('looking for targets', () => registry.list());
    this.#targets = pickTargets(servers, own, this.#wanted, this.#leaving);
    if (this.#targets.length === 0)
      this.#is.log.warn({ migration: this.id }, 'no server can take the handles: they will be released');
  }

  /** A command that is asked again when the stream broke, until the handoff's time is over. */
  async #command<T>(member: Member, ask: () => Promise<T> | undefined): Promise<T | undefined> {
    for (;;) {
      try {
        const asked = ask();
        if (asked) return await asked;
      } catch (error) {
        this.#is.log.info({ reason: reasonOf(error), migration: this.id }, 'a step of a handoff is tried again');
      }
      if (member.over || monotonicMs() > this.#untilMs || this.#cancelled) return undefined;
      await delay(RETRY_MS);
    }
  }

  /** The node that is drained may be the one that runs the store: then it is away for a while, and back before the time is over. */
  async #patiently<T>(what: string, act: () => Promise<T>): Promise<T> {
    const beganMs = monotonicMs();
    for (;;) {
      try {
        return await act();
      } catch (error) {
        const awayMs = monotonicMs() - beganMs;
        const patienceMs = this.#isEmpty() ? STORE_AWAY_EMPTY_MS : STORE_AWAY_MS;
        if (this.#cancelled || this.#isOver() || awayMs > patienceMs) throw error;
        this.#is.log.info({ reason: reasonOf(error), migration: this.id }, `${what}: the store is away, trying again`);
        await delay(RETRY_MS);
      }
    }
  }

  /** No client is served here that could lose anything. */
  #isEmpty(): boolean {
    return ![...this.#is.cluster.members.values()].some(
      (member) => !member.over && (member.sessions.size > 0 || member.reportsExpected > 0 || member.holdsOpens),
    );
  }

  /** Too late to move: what is left is released. */
  #isOver(): boolean {
    return monotonicMs() > this.#untilMs - RELEASE_RESERVE_MS;
  }

  #count(what: 'moved' | 'released' | 'expired', opens: number): void {
    if (opens === 0) return;
    this.progress[what] += BigInt(opens);
    this.#is.metrics.handoffOpens.labels(what).inc(opens);
  }

  #say(phase: string): void {
    this.progress.phase = phase;
    this.progress.durationMs = Math.round(monotonicMs() - this.#startedMs);
    this.onProgress(this.progress);
  }

  #summary(): string {
    const { moved, released, expired, left } = this.progress;
    return `${moved} moved, ${released} released, ${expired} gone, ${left} left behind`;
  }
}

/**
 * Whole sessions that together have at most so many durable opens, the largest that fit first: fewer clients notice. What waits for its
 * client stays where it is.
 */
export function shareOf(all: readonly Group[], most: number): Group[] {
  const sized = all
    .filter(({ sessionId }) => sessionId !== 0n)
    .map((group) => ({ group, size: group.opens.filter(isDurable).length }))
    .sort((a, b) => b.size - a.size);
  let left = most;
  return sized.flatMap(({ group, size }) => {
    if (size === 0 || size > left) return [];
    left -= size;
    return [group];
  });
}

function isDurable(record: OpenRecord): boolean {
  return record.durability !== Durability.NOT_DURABLE;
}

/** The opens that move with that session; 0n: those whose session is not here any more. */
function opensOf(member: Member, sessionId: bigint): OpenRecord[] {
  const candidates = sessionId === 0n ? member.opens.values() : member.opensOf(sessionId);
  const records: OpenRecord[] = [];
  for (const { record } of candidates) {
    const isActive = record.state === OpenState.ACTIVE;
    const belongs = sessionId === 0n ? !isActive || !member.sessions.has(record.sessionId) : isActive;
    if (belongs) records.push(record);
  }
  return records;
}

/** A session always (its connection has to end); opens without one if they wait for a client and their last change has returned. */
function isMovable(member: Member, group: Group): boolean {
  if (group.sessionId !== 0n) return true;
  return group.opens.some((open) => isDurable(open) && !member.unfinished.has(open.openId));
}

function groups(member: Member): Group[] {
  const bySession = new Map<bigint, OpenRecord[]>([...member.sessions.keys()].map((id) => [id, []]));
  for (const { record } of member.opens.values()) {
    const id = record.state === OpenState.ACTIVE && member.sessions.has(record.sessionId) ? record.sessionId : 0n;
    const opens = bySession.get(id);
    if (opens) opens.push(record);
    else bySession.set(id, [record]);
  }
  return [...bySession].map(([sessionId, opens]) => ({ sessionId, opens }));
}

function inBatches(opens: OpenRecord[]): OpenRecord[][] {
  const byShard = new Map<number, OpenRecord[]>();
  for (const open of opens) {
    const shard = shardOfOpen(open);
    const others = byShard.get(shard);
    if (others) others.push(open);
    else byShard.set(shard, [open]);
  }
  return [...byShard.values()].flatMap((list) => chunks(list, TRANSFER_BATCH));
}

const writer = new BinaryWriter();

/** What their target has to know of opens ahead of time, packed for its file server. */
function packedComing(opens: readonly OpenRecord[]): Buffer[] {
  return opens.map((open) => {
    const packed = ComingOpen.encode(open, writer).finish();
    return Buffer.from(packed.buffer, packed.byteOffset, packed.length);
  });
}

function sourceOf(member: Member) {
  return { serverId: member.identity.serverId, epoch: BigInt(member.identity.epoch) };
}

/** What a migration has come to, for its span. */
function countsOf({ moved, released, expired, left, sessions }: MigrationProgress): Record<string, number> {
  const opens = { moved: Number(moved), released: Number(released), expired: Number(expired), left: Number(left) };
  return { ...opens, sessions: Number(sessions) };
}

/** A progress message as log fields. */
function plain(progress: MigrationProgress) {
  const { phase, durationMs, message } = progress;
  return { phase, durationMs, message };
}
