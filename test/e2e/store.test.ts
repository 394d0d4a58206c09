// Three Redis on the three-node cluster: the node of the primary is lost.
import type { ConnectionOptions } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { storeConnection } from '../../common/tls.ts';
import { PRIMARY_NAME } from '../../operator/resources/redis.ts';
import { asked, roleAt } from '../../sidecar/member/local.ts';
import { eventually } from '../cluster/shell.ts';
import { installOperator } from '../demo/installation.ts';
import { HeldFiles } from './held.ts';
import { TestNamespace } from './namespace.ts';

const MINUTES = 60_000;
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26379;

describe('an embedded store of three', () => {
  let namespace: TestNamespace;
  let lost = '';

  beforeAll(async () => {
    namespace = await TestNamespace.make('holdfast-e2e-store');
    await installOperator(namespace.kubernetes, process.env.IMAGE || undefined);
  }, 5 * MINUTES);

  afterAll(async () => {
    await HeldFiles.abandon();
    if (lost !== '') await namespace.kubernetes.node('join', lost);
    await namespace?.remove();
  }, 10 * MINUTES);

  async function secret(name: string, key: string): Promise<Buffer> {
    const path = ['-o', `jsonpath={.data.${key.replace('.', '\\.')}}`];
    const secret = ['get', 'secret', name, '-n', namespace.name];
    return Buffer.from(await namespace.kubernetes.kubectl([...secret, ...path]), 'base64');
  }

  async function passwords(): Promise<string[]> {
    return [(await secret('three-redis', 'password')).toString('utf8')];
  }

  /** As a sidecar speaks to the store. */
  async function tls(): Promise<ConnectionOptions> {
    const of = (key: string) => secret('three-tls', key);
    return storeConnection({ ca: await of('ca.crt'), certificate: await of('tls.crt'), key: await of('tls.key') });
  }

  /** The node of the primary, by what the members say themselves. */
  async function primary(): Promise<{ pod: string; node: string }> {
    const [known, speech] = [await passwords(), await tls()];
    return eventually('a Redis says that it is the primary', 2 * MINUTES, async () => {
      for (const { metadata, spec, status } of await namespace.pods('three', 'redis')) {
        const [host, node] = [(status as { podIP?: string }).podIP, (spec as { nodeName?: string }).nodeName];
        if (!host || !node || node === lost) continue;
        if ((await roleAt({ host, port: REDIS_PORT, tls: speech }, known)) === 'master')
          return { pod: metadata.name, node };
      }
      return undefined;
    });
  }

  /** Each Sentinel knows of both replicas and of both others: a second or two after the store was set up. */
  async function settled(): Promise<void> {
    const [known, speech] = [await passwords(), await tls()];
    await eventually('the Sentinels know all members', 2 * MINUTES, async () => {
      for (const { status } of await namespace.pods('three', 'redis')) {
        const host = (status as { podIP?: string }).podIP ?? '';
        const flat = await asked({ host, port: SENTINEL_PORT, tls: speech }, known, (sentinel) =>
          sentinel.call('SENTINEL', 'MASTER', PRIMARY_NAME),
        );
        const field = (name: string) => (flat as string[] | undefined)?.[(flat as string[]).indexOf(name) + 1];
        if (field('num-slaves') !== '2' || field('num-other-sentinels') !== '2') return undefined;
      }
      return true;
    });
  }

  test(
    'survives the node of its primary: another member takes over, and who holds files elsewhere goes on',
    async () => {
      const { kubernetes } = namespace;
      if (!kubernetes.embedded) {
        process.stderr.write('left out: nodes of a cluster that is not our own are left alone\n');
        return;
      }
      await kubernetes.apply(namespace.cluster('three', { replicas: 3, stores: 3 }));
      await namespace.becomes('three', 'StateStoreReady', 'True', 5 * MINUTES);
      await namespace.becomes('three', 'Available', 'True', 3 * MINUTES);
      const held = await HeldFiles.open(await namespace.addresses('three', 3));

      await settled();
      // By nothing but TLS: who speaks in the clear, or without a certificate, hears nothing.
      const [known, { cert: _cert, key: _key, ...nameless }] = [await passwords(), await tls()];
      for (const { status } of await namespace.pods('three', 'redis')) {
        const host = (status as { podIP?: string }).podIP ?? '';
        for (const speech of [undefined, nameless]) {
          for (const port of [REDIS_PORT, SENTINEL_PORT]) {
            expect(await asked({ host, port, tls: speech }, known, (redis) => redis.call('PING'))).toBeUndefined();
          }
        }
      }
      const before = await primary();
      lost = before.node;
      await kubernetes.node('cut', before.node);
      await held.goesOn();
      const after = await primary();
      expect(after.pod).not.toBe(before.pod);
      expect(after.node).not.toBe(before.node);
      expect(await held.finish()).toMatchObject({ errors: [], lost: 0, torn: 0 });

      await kubernetes.node('join', before.node);
      lost = '';
      await namespace.becomes('three', 'StateStoreReady', 'True', 5 * MINUTES);
    },
    20 * MINUTES,
  );
});
