import { randomUUID } from 'node:crypto';
import { HoldfastError } from '../../common/errors.ts';
import { monotonicNs } from '../../common/time.ts';
import { type Hello, HelloReply, Outcome } from '../../proto/generated/handles.ts';
import { PROTOCOL, SHARDS } from '../constants.ts';
import { isProvenDead } from '../fencing/death.ts';
import type { Lease } from '../fencing/lease.ts';
import { hex, type Identity, OpenIds } from '../table/keys.ts';
import type { Components } from './components.ts';
import { Member } from './member.ts';
import type { FileServerStream } from './stream.ts';

export interface Place {
  /** Pod UID, or a random one. */
  serverId: string;
  /** host:port at which other sidecars reach this one. */
  address: string;
  pod: string;
  node: string;
}

/** File servers of this pod come, come back, and are taken for dead. */
export class Registration {
  readonly #is: Components;
  readonly #lease: Lease;
  readonly #place: Place;
  /** What is asked for now, by worker. */
  readonly #underWay = new Map<string, { what: string; member: Promise<Member | undefined> }>();
  /** The pod goes away: nobody is to be accepted any more. */
  leaving = false;

  constructor(components: Components, lease: Lease, place: Place) {
    this.#is = components;
    this.#lease = lease;
    this.#place = place;
  }

  /**
   * A file server says Hello. One that says it again, because the answer took too long, gets the answer to the first: a registration that
   * began anew each time would never be done on a slow store.
   * @returns the member, or why the file server cannot be one
   */
  async hello(
    hello: Hello,
    stream: FileServerStream,
  ): Promise<{ outcome: number; member?: Member; reply?: HelloReply }> {
    const { log } = this.#is;
    if (hello.protocol !== PROTOCOL || !/^[\w-]{1,32}$/.test(hello.worker) || !hello.lockPath.startsWith('/')) {
      return { outcome: Outcome.INVALID };
    }
    if (isProvenDead(hello.lockPath)) {
      log.error(
        { worker: hello.worker, lockPath: hello.lockPath },
        'a file server says hello without holding its lock file',
      );
      return { outcome: Outcome.INVALID };
    }
    const serverId = `${this.#place.serverId}/${hello.worker}`;
    const member = await this.#memberFor(hello, stream, serverId);
    if (!member) return { outcome: stream.ended ? Outcome.STORE_UNAVAILABLE : Outcome.FENCED };
    if (stream.ended) {
      // It says Hello again, or it died meanwhile, and nobody else would notice.
      if (!member.stream) this.#lease.streamLost(member);
      return { outcome: Outcome.STORE_UNAVAILABLE };
    }
    const before = member.stream;
    member.stream = stream;
    before?.end();
    member.draining ||= this.leaving;
    if (monotonicNs() > member.deadlineNs) void this.#lease.renew(member);
    const { leaseDurationMs } = this.#is.config.failover;
    return {
      outcome: Outcome.GRANTED,
      member,
      reply: HelloReply.create({
        identity: { serverId, epoch: BigInt(member.identity.epoch) },
        clusterId: this.#is.config.clusterId,
        deadlineNs: member.deadlineNs,
        leaseDurationMs,
        heartbeatIntervalMs: Math.max(50, Math.floor(leaseDurationMs / 6)),
        draining: member.draining,
      }),
    };
  }

  /** One registration of a worker after the other; those that ask for the same have one in common. */
  async #memberFor(hello: Hello, stream: FileServerStream, serverId: string): Promise<Member | undefined> {
    const { worker } = hello;
    const what = requestOf(hello);
    for (let before = this.#underWay.get(worker); before; before = this.#underWay.get(worker)) {
      const member = await before.member.catch((error: unknown) => {
        if (before?.what === what) throw error;
        return undefined;
      });
      if (stream.ended) return member;
      if (before.what === what && !hello.resume) return member;
    }
    const member = this.#begin(hello, serverId);
    const underWay = { what, member };
    this.#underWay.set(worker, underWay);
    const isOver = () => {
      if (this.#underWay.get(worker) === underWay) this.#underWay.delete(worker);
    };
    member.then(isOver, isOver);
    return member;
  }

  async #begin(hello: Hello, serverId: string): Promise<Member | undefined> {
    const { resume } = hello;
    const member = resume
      ? await this.#resume(hello, { serverId: resume.serverId, epoch: Number(resume.epoch) }, serverId)
      : await this.#enter(hello, serverId);
    if (member) this.#is.cluster.members.set(member.worker, member);
    return member;
  }

  /** The stream or this sidecar was lost: the file server goes on under its identity, if nobody fenced it. */
  async #resume(hello: Hello, identity: Identity, serverId: string): Promise<Member | undefined> {
    const { registry, cluster, log } = this.#is;
    if (identity.serverId !== serverId) return undefined;
    registry.saw(identity.epoch);
    const known = cluster.members.get(hello.worker);
    if (known?.identity.epoch === identity.epoch && !known.over) {
      known.alive = true;
      // The stream broke in the middle of the report: it begins again, with what is open by now.
      if (known.isSettling) known.expectReports(Number(hello.opensFollow));
      log.info({ server: known.owner, settling: known.isSettling }, 'a file server attached again');
      return known;
    }
    if (known) return undefined;
    const sentNs = monotonicNs();
    const { address, pod, node } = this.#place;
    const resumed = await registry.resume(identity, { address, pod, node, smbAddress: hello.smbAddress });
    if (!resumed) return undefined;
    if (resumed === 'lost') return this.#resumeLost(hello, identity);
    const member = new Member(
      hello.worker,
      identity,
      hello.lockPath,
      new OpenIds(identity.epoch, resumed.block),
      hello.smbAddress,
    );
    // Past its deadline it is renewed when the store is known to be the one that it served with.
    const isLate = hello.deadlineNs > 0n && monotonicNs() > hello.deadlineNs;
    member.deadlineNs = isLate ? hello.deadlineNs : this.#lease.deadlineNs(sentNs);
    member.draining = resumed.state === 'draining';
    member.expectReports(Number(hello.opensFollow));
    member.counter = await this.#counterOf(identity);
    log.info(
      { server: member.owner, opens: member.reportsExpected },
      'a file server goes on after a restart of its sidecar',
    );
    return member;
  }

  /**
   * The store lost its data while this sidecar was away. What the file server holds is put back as anybody's is, as long as its lease
   * has not run out: longer nobody waits for it.
   */
  #resumeLost(hello: Hello, identity: Identity): Member | undefined {
    if (monotonicNs() > hello.deadlineNs) return undefined;
    // Which blocks it has used is lost too: one of the upper half, which are reached by counting only after 512 restarts.
    const block = 512 + Math.floor(Math.random() * 256);
    const member = new Member(
      hello.worker,
      identity,
      hello.lockPath,
      new OpenIds(identity.epoch, block),
      hello.smbAddress,
    );
    member.deadlineNs = hello.deadlineNs;
    member.expectReports(Number(hello.opensFollow));
    this.#is.log.info(
      { server: member.owner },
      'the store does not know a file server that resumes: its state is put back',
    );
    return member;
  }

  async #enter(hello: Hello, serverId: string): Promise<Member> {
    const { registry, table, cluster, log } = this.#is;
    const known = cluster.members.get(hello.worker);
    if (known && !known.over && hello.attempt.length > 0 && known.attempt.equals(hello.attempt)) {
      known.alive = true;
      log.info({ server: known.owner }, 'a file server that was registered asks for the answer again');
      return known;
    }
    // Whoever held the lock file before this process is dead: the kernel gave it away.
    if (known) {
      known.end();
      known.stream?.end();
      cluster.members.delete(hello.worker);
    }
    const { address, pod, node } = this.#place;
    const fields = { address, pod, node, smbAddress: hello.smbAddress, reconciled: '', leaving: this.leaving };
    const { epoch, replaced, sentNs } = await registry.register(serverId, fields);
    if (epoch >= 2 ** 28) throw new HoldfastError('EPOCHS', 'the store has handed out 2^28 epochs; set up a new store');
    const identity = { serverId, epoch };
    await Promise.all(
      Array.from({ length: SHARDS }, (_, shard) => table.fence(shard, identity, 'enter', 'alive', replaced)),
    );
    const member = new Member(hello.worker, identity, hello.lockPath, new OpenIds(epoch, 0), hello.smbAddress);
    member.attempt = Buffer.from(hello.attempt);
    member.deadlineNs = this.#lease.deadlineNs(sentNs);
    log.info({ server: member.owner, replaced, smbAddress: hello.smbAddress }, 'a file server registered');
    if (replaced > 0) this.onReplaced(`${serverId}@${replaced}`);
    return member;
  }

  /** Called when a restarted process took the place of its predecessor, whose opens are orphans now. */
  onReplaced: (identity: string) => void = () => {};

  async #counterOf(identity: Identity): Promise<number> {
    const servers = await this.#is.registry.list();
    return servers.find((server) => server.serverId === identity.serverId)?.counter ?? 0;
  }
}

/** The same in each repetition of a Hello; no two Hellos of an older file server are the same, but for those that resume. */
function requestOf({ resume, attempt }: Hello): string {
  if (resume) return `resume ${resume.serverId}@${resume.epoch}`;
  return `enter ${attempt.length > 0 ? hex(attempt) : randomUUID()}`;
}
