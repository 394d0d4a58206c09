import { describe, expect, test } from '@jest/globals';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { cluster } from '../testing/fixtures.ts';
import { configMap } from './cluster-config.ts';
import { speaksTls } from './redis.ts';
import { redisStatefulSet } from './redis-stateful-set.ts';
import { withStoreTls } from './store-tls.ts';

const said = (tls?: 'Required' | 'Off') =>
  cluster({ state: { embedded: { replicas: 1, storage: '1Gi', ...(tls ? { tls } : {}) } } });
/** What is made for a cluster whose store is spoken to so. */
const made = (tls: 'Required' | 'Off') => [redisStatefulSet(said(tls), 'image'), configMap(said(tls))];

describe('how a store is spoken to', () => {
  test('is what the cluster says', () => {
    for (const tls of ['Required', 'Off'] as const) {
      for (const known of [[], made('Off'), made('Required')]) {
        expect(speaksTls(withStoreTls(said(tls), known))).toBe(tls === 'Required');
      }
    }
  });

  test('is by TLS where nothing is said and nothing was made yet', () => {
    expect(speaksTls(withStoreTls(said(), [undefined, undefined]))).toBe(true);
  });

  test('stays as it was made, though one of what it is known by is gone', () => {
    for (const tls of ['Required', 'Off'] as const) {
      const [set, config] = made(tls);
      for (const known of [
        [set, config],
        [set, undefined],
        [undefined, config],
      ]) {
        expect(speaksTls(withStoreTls(said(), known))).toBe(tls === 'Required');
      }
    }
  });

  test('is not changed by an annotation that somebody takes off', () => {
    const [set, config] = made('Required');
    const bare = { ...set, metadata: { ...set?.metadata, annotations: {} } };
    expect(speaksTls(withStoreTls(said(), [bare, config]))).toBe(true);
  });

  test('is not what a cluster of the same name had before', () => {
    const other: FileServerCluster = { ...said(), metadata: { ...said().metadata, uid: 'another' } };
    expect(speaksTls(withStoreTls(other, made('Off')))).toBe(true);
  });

  test('is the same object for the same cluster, and an external store is left alone', () => {
    const one = said();
    const [first, second] = [withStoreTls(one, []), withStoreTls(one, made('Required'))];
    expect(second).toBe(first);
    expect(withStoreTls(one, made('Off'))).not.toBe(first);
    expect(one.spec.state.embedded?.tls).toBeUndefined();
    const state = { external: { mode: 'Standalone' as const, addresses: ['r:6379'] } };
    const external = cluster({ state } as never);
    delete external.spec.state.embedded;
    expect(withStoreTls(external, [])).toBe(external);
  });
});
