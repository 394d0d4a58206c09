import type { ConnectionOptions } from 'node:tls';
import { ReplyError } from 'ioredis';
import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { asked, type Endpoint, primaryAt, roleAt } from './local.ts';
import type { Primary } from './member-files.ts';
import type { Membership } from './members.ts';

const LOOK_EVERY_MS = 100;
/** Renewed at each look: should this process end, Redis writes again so soon. */
const PAUSE_MS = 1000;
/** No longer than that together, which is shorter than a server's lease: it serves on if nobody takes over. */
const PAUSED_AT_MOST_MS = 4000;
/** A Sentinel that refuses to begin (it has not heard of a replica lately, or is at another failover) is asked again after so long. */
const AGAIN_MS = 1000;
/** Replicas that lag behind for longer than this are not waited for. */
const COPIED_WITHIN_MS = 1000;

/**
 * Before a member ends: another one becomes the primary, so that nobody has to notice a loss first. Does nothing where this member is
 * none, or no other can take over; then the loss is noticed as any other.
 * @param tls how the members speak to each other; undefined: in the clear
 * @returns whether this member is no primary (any more)
 */
export async function handOver(
  { name, members, own }: Membership,
  passwords: readonly string[],
  tls: ConnectionOptions | undefined,
  timeoutMs: number,
  log: Logger,
): Promise<boolean> {
  const self = members[own];
  if (!self || members.length === 1) return false;
  const redis = { host: '127.0.0.1', port: self.port, tls };
  const isPrimary = async () => (await roleAt(redis, passwords)) === 'master';
  if (!(await isPrimary())) return true;
  const deadlineMs = monotonicMs() + timeoutMs;
  const others = members.filter((_, i) => i !== own).map(({ host, port }) => ({ host, port, tls }));
  // The others' first: this pod's Sentinel is told to end in the same moment as its Redis is asked to hand over, and with it ends what it
  // has begun.
  const sentinels = [...members.filter((_, i) => i !== own), { ...self, host: redis.host }];
  let pausedFromMs: number;
  for (;;) {
    // What it granted between the moment another one is promoted and the moment its replicas follow that one would be lost: it grants nothing
    // from here on, and the others have all that it has.
    pausedFromMs = monotonicMs();
    await pause(redis, passwords);
    await copied(redis, others, passwords, pausedFromMs + COPIED_WITHIN_MS);
    const answer = await begin(name, sentinels, tls, passwords);
    if (answer === 'begun') break;
    await asked(redis, passwords, (connection) => connection.call('CLIENT', 'UNPAUSE'));
    if (answer === undefined || monotonicMs() + AGAIN_MS >= deadlineMs) {
      log.warn({ answer }, 'no Sentinel begins a failover; they will once this member is gone');
      return false;
    }
    log.info({ answer }, 'no Sentinel begins a failover yet: asking again');
    await delay(AGAIN_MS);
    if (!(await isPrimary())) return true;
  }
  while (monotonicMs() < deadlineMs) {
    if (!(await isPrimary())) {
      log.info('another member is the primary now');
      return true;
    }
    const next = await successor(name, members, own, tls, passwords);
    if (next) await follow(redis, next, passwords);
    else if (monotonicMs() - pausedFromMs < PAUSED_AT_MOST_MS - PAUSE_MS) await pause(redis, passwords);
    await delay(LOOK_EVERY_MS);
  }
  log.warn({ timeoutMs }, 'no other member became the primary in time');
  return false;
}

/** Has one of the Sentinels begin a failover. @returns why the last that answered does not; undefined: none answers */
async function begin(
  name: string,
  sentinels: readonly Membership['members'][number][],
  tls: ConnectionOptions | undefined,
  passwords: readonly string[],
): Promise<string | undefined> {
  let refusal: string | undefined;
  for (const { host, sentinelPort } of sentinels) {
    const answer = await asked({ host, port: sentinelPort, tls }, passwords, (sentinel) =>
      sentinel.call('SENTINEL', 'FAILOVER', name).then(
        () => 'begun',
        (error: unknown) => {
          if (error instanceof ReplyError) return reasonOf(error);
          throw error;
        },
      ),
    );
    if (answer === 'begun') return answer;
    refusal = answer ?? refusal;
  }
  return refusal;
}

/** For a second nothing is written, and whoever wants to waits. */
async function pause(redis: Endpoint, passwords: readonly string[]): Promise<void> {
  await asked(redis, passwords, (connection) => connection.call('CLIENT', 'PAUSE', String(PAUSE_MS), 'WRITE'));
}

/** Resolves when each replica that answers has what this paused primary has, or at that time. */
async function copied(redis: Endpoint, replicas: readonly Endpoint[], passwords: readonly string[], untilMs: number) {
  const offset = async (endpoint: Endpoint, field: string) => {
    const info = await asked(endpoint, passwords, (connection) => connection.info('replication'));
    return Number(new RegExp(`^${field}:(\\d+)`, 'm').exec(info ?? '')?.[1] ?? Number.NaN);
  };
  const wanted = await offset(redis, 'master_repl_offset');
  for (;;) {
    const have = await Promise.all(replicas.map((replica) => offset(replica, 'slave_repl_offset')));
    if (!have.some((each) => each < wanted) || monotonicMs() >= untilMs) return;
    await delay(LOOK_EVERY_MS / 5);
  }
}

/** Another member that a Sentinel names, and that says itself that it is the primary. */
async function successor(
  name: string,
  members: Membership['members'],
  own: number,
  tls: ConnectionOptions | undefined,
  passwords: readonly string[],
): Promise<Primary | undefined> {
  const others = members.filter((_, i) => i !== own);
  const self = members[own];
  const named = await Promise.all(
    others.map(({ host, sentinelPort }) => primaryAt({ host, port: sentinelPort, tls }, name, passwords)),
  );
  for (const primary of named) {
    if (!primary || (primary.host === self?.host && primary.port === self.port)) continue;
    if ((await roleAt({ ...primary, tls }, passwords)) === 'master') return primary;
  }
  return undefined;
}

/**
 * What the Sentinels have an old primary do when it has said for eight seconds that it still is one. So long nobody may have what it grants,
 * and who is still connected to it is granted nothing: it follows at once, which is one replica more, and lets all connections go.
 */
async function follow(self: Endpoint, { host, port }: Primary, passwords: readonly string[]): Promise<void> {
  await asked(self, passwords, (redis) =>
    redis
      .multi()
      .replicaof(host, port)
      .call('CONFIG', 'REWRITE')
      .call('CLIENT', 'KILL', 'TYPE', 'normal')
      .call('CLIENT', 'KILL', 'TYPE', 'pubsub')
      .exec(),
  );
}
