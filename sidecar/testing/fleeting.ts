import type { Redis } from 'ioredis';
import { until } from './redis.ts';

/** The first byte of m of a fleeting record, a list of seven (common.lua, section file). */
export const FLEETING = 151;

type Hashes = Pick<Redis, 'hgetBuffer'>;

/** @param file the key of its record */
export async function isFleeting(redis: Hashes, file: string): Promise<boolean> {
  return (await redis.hgetBuffer(file, 'm'))?.[0] === FLEETING;
}

/** Of each file that has a record, whether that is fleeting. */
export async function recordsOf(redis: Redis): Promise<boolean[]> {
  return Promise.all((await redis.keys('hf:*:file:*')).map((key) => isFleeting(redis, key)));
}

/** Makes a copy of all that the store has now: the base of its append-only file from then on. */
export async function copied(redis: Pick<Redis, 'bgrewriteaof' | 'info'>): Promise<void> {
  await redis.bgrewriteaof();
  await until(async () => !/aof_rewrite_(in_progress|scheduled):1/.test(await redis.info('persistence')), 30_000);
}
