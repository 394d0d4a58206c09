// The keys of a cluster on three nodes are exchanged while files are held open and others are opened: its authority, with all certificates
// of it, and the password of its store.
import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { delay } from '../../common/time.ts';
import type { Kubernetes } from '../cluster/kubernetes.ts';
import { eventually } from '../cluster/shell.ts';
import { installOperator } from '../demo/installation.ts';
import { HeldFiles } from './held.ts';
import { TestNamespace } from './namespace.ts';
import { OpenedFiles } from './opened.ts';

const NAMESPACE = 'holdfast-keys';
const CLUSTER = 'rotated';
const MINUTES = 60_000;
/** The kubelets of our own cluster look at every pod so often, and give it what has changed in its Secrets; twice that, and a little. */
const HANDED_OUT_MS = 25_000;

describe('the keys of a cluster on the three-node cluster', () => {
  let namespace: TestNamespace;
  let kubernetes: Kubernetes;

  beforeAll(async () => {
    namespace = await TestNamespace.make(NAMESPACE);
    kubernetes = namespace.kubernetes;
    await installOperator(kubernetes, process.env.IMAGE || undefined);
  }, 5 * MINUTES);

  afterAll(async () => {
    await HeldFiles.abandon();
    await OpenedFiles.abandon();
    await namespace?.remove();
  }, 3 * MINUTES);

  test(
    'are exchanged in steps, and who holds or opens files notices nothing',
    async () => {
      if (!kubernetes.embedded) {
        process.stderr.write('left out: pods of a cluster that is not our own are not reached from here\n');
        return;
      }
      await kubernetes.apply(namespace.cluster(CLUSTER, { replicas: 2, stores: 3 }));
      await namespace.becomes(CLUSTER, 'Available', 'True', 5 * MINUTES);
      const addresses = await namespace.addresses(CLUSTER, 2);
      const held = await HeldFiles.open(addresses);
      const opened = await OpenedFiles.begin(addresses);
      const before = await keys();
      const podsBefore = await pods();
      expect(before.trusted).toEqual([before.signer]);
      expect(before.accepted).toEqual([before.password]);

      const wishes = ['authority', 'store-password'].map((what) => `holdfast.dev/rotate-${what}=once`);
      await kubernetes.kubectl(['annotate', 'fileservercluster', CLUSTER, '-n', NAMESPACE, ...wishes]);
      const taught = await keysAre(
        'both of each are taken',
        (now) => now.trusted.length === 2 && now.accepted.length === 2,
      );
      expect([taught.signer, taught.password]).toEqual([before.signer, before.password]);
      await stepEnds();
      const shown = await keysAre(
        'the new ones are shown',
        (now) => now.signer !== before.signer && now.storeSigner !== before.signer && now.password !== before.password,
      );
      expect(shown.trusted).toContain(before.signer);
      expect(shown.accepted).toContain(before.password);
      await stepEnds();
      const after = await keysAre(
        'the old ones are forgotten',
        (now) => now.trusted.length + now.accepted.length === 2,
      );
      expect([after.trusted, after.accepted]).toEqual([[shown.signer], [shown.password]]);
      await delay(HANDED_OUT_MS);

      // Whoever connects anew has only the new ones: a server that is started now, and the others to it.
      await kubernetes.kubectl(['scale', 'fileservercluster', CLUSTER, '-n', NAMESPACE, '--replicas=3']);
      await namespace.readyPods(CLUSTER, 3);
      await namespace.becomes(CLUSTER, 'Available', 'True', MINUTES);
      await held.goesOn();
      const { count, longestMs } = await opened.end();
      const longestPauseMs = await held.expectWhole();
      process.stdout.write(
        `while keys were exchanged ${count} files were opened, the slowest in ${Math.round(longestMs)} ms; who held files waited ${Math.round(longestPauseMs)} ms at most\n`,
      );
      // Nothing was moved or started again for it.
      expect(await kubernetes.list('handlemigrations', NAMESPACE)).toEqual([]);
      expect(await pods()).toMatchObject(podsBefore);
      await kubernetes.kubectl(['delete', 'fileservercluster', CLUSTER, '-n', NAMESPACE]);
    },
    12 * MINUTES,
  );

  interface Keys {
    /** Fingerprints: whom sidecars trust, and who has signed what they and the store show. */
    trusted: string[];
    signer: string | undefined;
    storeSigner: string | undefined;
    /** What sidecars log on to the store with, and what it takes. */
    password: string;
    accepted: string[];
  }

  async function keys(): Promise<Keys> {
    const read = async (name: string) => {
      const secret = await kubernetes.get('secret', NAMESPACE, `${CLUSTER}-${name}`);
      const { data = {} } = (secret ?? {}) as { data?: Record<string, string> };
      return (key: string) => Buffer.from(data[key] ?? '', 'base64').toString();
    };
    const [sidecars, members, store] = await Promise.all([read('tls'), read('redis-tls'), read('redis')]);
    const authorities = (sidecars('ca.crt').match(/-----BEGIN[^-]*-----[^-]*-----END[^-]*-----/g) ?? []).map(
      (pem) => new X509Certificate(pem),
    );
    const signerOf = (pem: string) =>
      authorities.find(({ publicKey }) => new X509Certificate(pem).verify(publicKey))?.fingerprint256;
    return {
      trusted: authorities.map(({ fingerprint256 }) => fingerprint256),
      signer: signerOf(sidecars('tls.crt')),
      storeSigner: signerOf(members('tls.crt')),
      password: store('password'),
      accepted: store('accepted').split('\n'),
    };
  }

  function keysAre(what: string, are: (now: Keys) => boolean): Promise<Keys> {
    return eventually(what, 2 * MINUTES, async () => {
      const now = await keys();
      return are(now) ? now : undefined;
    });
  }

  /** Every pod has been handed what the step brought; the operator would give it three minutes, as kubelets anywhere need. */
  async function stepEnds(): Promise<void> {
    await delay(HANDED_OUT_MS);
    const longAgo = new Date(Date.now() - 10 * MINUTES).toISOString();
    for (const [secret, step] of [
      ['ca', 'authority'],
      ['redis', 'password'],
    ]) {
      const since = `holdfast.dev/${step}-step-since=${longAgo}`;
      await kubernetes.kubectl(['annotate', '--overwrite', 'secret', `${CLUSTER}-${secret}`, '-n', NAMESPACE, since]);
    }
  }

  /** Which pods there are, and how often a container of theirs was started; a Sentinel is, to read its new certificate (docs/security.md). */
  async function pods(): Promise<Record<string, number[]>> {
    const all = [...(await namespace.pods(CLUSTER)), ...(await namespace.pods(CLUSTER, 'redis'))];
    return Object.fromEntries(
      all.map(({ metadata, status }) => {
        const containers = (status?.containerStatuses ?? []) as { name: string; restartCount: number }[];
        const lasting = containers.filter(({ name }) => name !== 'sentinel');
        return [metadata.name, lasting.map(({ restartCount }) => restartCount)];
      }),
    );
  }
});
