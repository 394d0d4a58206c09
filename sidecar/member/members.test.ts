import { describe, expect, test } from '@jest/globals';
import { defaultUser } from '../../common/store-access.ts';
import { agreedPrimary, choosePrimary, primaryOf, redisFile, sentinelFile, wasCopy } from './member-files.ts';
import { type Membership, ordinalOf, parseMembers, quorumOf } from './members.ts';

const members = parseMembers('r-0.m:6379/26379,r-1.m:6379/26379,r-2.m:6379/26379');
const membership = (own: number): Membership => ({ name: 'holdfast', members, own });
const settings = {
  redis: 'appendonly yes\n',
  sentinel: 'sentinel down-after-milliseconds holdfast 1500\n',
  password: 'new',
  accepted: ['new', 'old'],
  tls: false,
};
const at = (ordinal: number, configEpoch = 0) => ({ host: `r-${ordinal}.m`, port: 6379, configEpoch });

describe('members', () => {
  test('are read from one argument', () => {
    expect(parseMembers('redis.files.svc:6379')).toEqual([{ host: 'redis.files.svc', port: 6379, sentinelPort: 0 }]);
    expect(members[2]).toEqual({ host: 'r-2.m', port: 6379, sentinelPort: 26379 });
    for (const wrong of ['', 'redis', 'redis:1/2/3', 'redis:1/x', 'redis:1/70000']) {
      expect(() => parseMembers(wrong)).toThrow(RangeError);
    }
  });

  test('know who they are by the name of their pod', () => {
    expect(ordinalOf('media-redis-2', 3)).toBe(2);
    expect(() => ordinalOf('media-redis-3', 3)).toThrow(/none of the 3 members/);
    expect(() => ordinalOf('media-redis', 3)).toThrow(RangeError);
  });

  test('decide by more than half', () => {
    expect([1, 2, 3, 5].map(quorumOf)).toEqual([1, 2, 2, 3]);
  });
});

describe('the files of a member', () => {
  test('hold hashes of what is let in, and the password only where this member shows it', () => {
    const redis = redisFile(membership(1), settings, at(0), '');
    expect(redis).toContain(`${defaultUser(['new', 'old'])}\n`);
    expect(redis.match(/\bnew\b/g)).toHaveLength(1);
    expect(redis).toContain('masterauth new\n');
    expect(redis).not.toContain('old');
  });

  test('let nobody in but by TLS, where it is wanted', () => {
    const tls = { ...settings, tls: true };
    const files = [redisFile(membership(1), tls, at(0), ''), sentinelFile(membership(1), tls, '/data/conf', at(0), '')];
    expect(files.map((file) => file.match(/^(tls-)?port .*$/gm))).toEqual([
      ['port 0', 'tls-port 6379'],
      ['port 0', 'tls-port 26379'],
    ]);
    expect(redisFile(membership(1), settings, at(0), '').match(/^(tls-)?port .*$/gm)).toEqual(['port 6379']);
  });

  test('make one of them the primary and the others its replicas', () => {
    expect(redisFile(membership(0), settings, at(0), '')).not.toContain('replicaof');
    expect(redisFile(membership(0), settings, at(2), '')).toContain('replicaof r-2.m 6379\n');
  });

  test('let nobody lead who has never had a copy, however often it starts', () => {
    const empty = redisFile(membership(1), settings, at(0), '');
    expect(empty).toContain('replica-priority 0\n');
    expect(wasCopy(empty)).toBe(false);
    expect(redisFile(membership(1), settings, at(0), empty)).toContain('replica-priority 0\n');
    const copied = empty.replace('replica-priority 0\n', ''); // as Redis writes the file once it may lead
    expect(redisFile(membership(1), settings, at(0), copied)).not.toContain('replica-priority');
    expect(redisFile(membership(0), settings, at(0), '')).not.toContain('replica-priority');
  });

  test('tell a Sentinel of the replicas before it has heard of any', () => {
    const replicas = (primary: number, before = '') =>
      sentinelFile(membership(0), settings, '/data/conf', at(primary), before).match(/^sentinel known-replica .*$/gm);
    const named = (...ordinals: number[]) => ordinals.map((i) => `sentinel known-replica holdfast r-${i}.m 6379`);
    expect(replicas(0)).toEqual(named(1, 2));
    expect(replicas(1)).toEqual(named(0, 2));
    expect(replicas(0, written)?.sort()).toEqual(named(1, 2)); // each once, noted or not
  });

  const written = [
    'port 26379',
    'sentinel myid 0123',
    'sentinel monitor holdfast r-0.m 6379 2',
    'sentinel config-epoch holdfast 4',
    'sentinel leader-epoch holdfast 5',
    'sentinel known-replica holdfast r-1.m 6379',
    'sentinel known-sentinel holdfast r-1.m 26379 4567',
    'sentinel current-epoch 5',
    '',
  ].join('\n');

  test('keep what a Sentinel noted: who it is, for whom it voted, whom it knows', () => {
    const file = sentinelFile(membership(0), settings, '/data/conf', at(0, 4), written);
    for (const line of written.split('\n').filter((each) => /^sentinel/.test(each)))
      expect(file).toContain(`${line}\n`);
    expect(file.match(/^sentinel monitor/gm)).toHaveLength(1);
    expect(file).toContain('sentinel down-after-milliseconds holdfast 1500\n');
  });

  test('drop what it noted of a primary that is replaced, and never a vote', () => {
    const file = sentinelFile(membership(0), settings, '/data/conf', at(1, 6), written);
    expect(file).toContain('sentinel monitor holdfast r-1.m 6379 2\n');
    expect(file).toContain('sentinel config-epoch holdfast 6\n');
    expect(file).not.toContain('known-replica holdfast r-1.m');
    expect(file).not.toContain('known-sentinel');
    for (const kept of ['myid 0123', 'leader-epoch holdfast 5', 'current-epoch 5']) expect(file).toContain(kept);
  });
});

describe('who is the primary when a member starts', () => {
  test('is what the others say, the newest of it', () => {
    expect(choosePrimary([at(0, 3), at(2, 7)], at(0, 3), at(0))).toEqual(at(2, 7));
  });
  test('is what it remembers itself when nobody answers, or they know less', () => {
    expect(choosePrimary([], at(1, 2), at(0))).toEqual(at(1, 2));
    expect(choosePrimary([at(0, 1)], at(1, 2), at(0))).toEqual(at(1, 2));
  });
  test('is the first member of a store that nobody ever used', () => {
    expect(choosePrimary([], undefined, at(0))).toEqual(at(0));
    expect(primaryOf('')).toBeUndefined();
  });
});

test('a primary counts for a lost replica when more than half of the Sentinels name it, after the same failover', () => {
  expect(agreedPrimary([at(2, 7), at(0, 3), at(2, 7)], 2)).toEqual(at(2, 7));
  expect(agreedPrimary([at(2, 7), at(0, 3)], 2)).toBeUndefined();
  expect(agreedPrimary([at(2, 7), at(2, 3)], 2)).toBeUndefined();
  expect(agreedPrimary([at(2, 7)], 2)).toBeUndefined();
});
