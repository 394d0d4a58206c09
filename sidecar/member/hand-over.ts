import type { ConnectionOptions } from 'node:tls';
import type { Redis } from 'ioredis';
import type { Logger } from '../../common/logging.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { asked, roleAt } from './local.ts';
import type { Membership } from './members.ts';

const LOOK_EVERY_MS = 100;

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
  // The others' first: this pod's Sentinel is told to end in the same moment as its Redis is asked to hand over, and with it ends what it
  // has begun.
  const sentinels = [...members.filter((_, i) => i !== own), { ...self, host: redis.host }];
  let hasBegun = false;
  for (const { host, sentinelPort } of sentinels) {
    const begin = (sentinel: Redis) => sentinel.call('SENTINEL', 'FAILOVER', name);
    hasBegun = (await asked({ host, port: sentinelPort, tls }, passwords, begin)) !== undefined;
    if (hasBegun || monotonicMs() >= deadlineMs) break;
  }
  if (!hasBegun) {
    log.warn('no Sentinel begins a failover; they will once this member is gone');
    return false;
  }
  while (monotonicMs() < deadlineMs) {
    if (!(await isPrimary())) {
      log.info('another member is the primary now');
      return true;
    }
    await delay(LOOK_EVERY_MS);
  }
  log.warn({ timeoutMs }, 'no other member became the primary in time');
  return false;
}
