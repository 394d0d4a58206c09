import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { parse } from 'yaml';
import { delay, monotonicMs } from '../../common/time.ts';
import { CLAIMS, SECRETS } from '../../operator/kinds.ts';
import { KubernetesApi } from '../../operator/runtime/api.ts';
import type { KubernetesObject, Objects, Resource } from '../../operator/runtime/objects.ts';

const root = join(import.meta.dirname, '../..');
const START_TIMEOUT_MS = 60_000;
const TOKEN = 'integration-test-admin';

export const NAMESPACES: Resource = { apiVersion: 'v1', kind: 'Namespace', plural: 'namespaces', namespaced: false };

/** A kube-apiserver with its own etcd and nothing else: no nodes, no controllers. */
export interface ApiServer {
  api: KubernetesApi;
  config: KubeConfig;
  /** Path of a kubeconfig with all permissions. */
  kubeconfig: string;
  /** Folder with kubectl, helm and the components of Kubernetes. */
  bin: string;
  url: string;
  folder: string;
  stop(): Promise<void>;
}

/** Where test/cluster/build.sh keeps the Kubernetes that it built. @throws when that was not done */
export function builtKubernetes(): string {
  try {
    return execFileSync(join(root, 'test/cluster/build.sh'), ['--where'], { encoding: 'utf8' }).trim();
  } catch {
    throw new Error(
      'these tests need a kube-apiserver, and none is built: run "make cluster-up" or "test/cluster/build.sh" once (about 10 minutes)',
    );
  }
}

/**
 * Starts both on free loopback ports, and waits until the API server is ready.
 * @param auditPolicy what the API server writes down of requests, into `audit.log` of its folder; nothing by default
 */
export async function startApiServer(auditPolicy?: object): Promise<ApiServer> {
  const bin = builtKubernetes();
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-api-'));
  const [client, peer, secure] = await freePorts(3);
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  writeFileSync(join(folder, 'sa.key'), privateKey);
  writeFileSync(join(folder, 'sa.pub'), publicKey);
  writeFileSync(join(folder, 'tokens.csv'), `${TOKEN},admin,admin,system:masters\n`);
  mkdirSync(join(folder, 'etcd'), { mode: 0o700 });
  const children: ChildProcess[] = [];
  const start = (name: string, command: string, args: string[]) => {
    const log = openSync(join(folder, `${name}.log`), 'w');
    const child = spawn(command, args, { stdio: ['ignore', log, log] });
    child.on('error', () => undefined); // shows as "not ready" below
    children.push(child);
  };
  const stop = async () => {
    api.close();
    const ended = children.map((child) =>
      child.exitCode !== null || child.pid === undefined
        ? Promise.resolve()
        : new Promise<void>((resolve) => child.once('exit', () => resolve())),
    );
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(ended);
    rmSync(folder, { recursive: true, force: true });
  };
  start(
    'etcd',
    'etcd',
    [
      ['--data-dir', join(folder, 'etcd')],
      ['--listen-client-urls', `http://127.0.0.1:${client}`],
      ['--advertise-client-urls', `http://127.0.0.1:${client}`],
      ['--listen-peer-urls', `http://127.0.0.1:${peer}`],
      ['--initial-advertise-peer-urls', `http://127.0.0.1:${peer}`],
      ['--initial-cluster', `default=http://127.0.0.1:${peer}`],
      ['--unsafe-no-fsync'],
    ].flat(),
  );
  const url = `https://127.0.0.1:${secure}`;
  start('apiserver', join(bin, 'kube-apiserver'), [
    `--etcd-servers=http://127.0.0.1:${client}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${join(folder, 'sa.pub')}`,
    `--service-account-signing-key-file=${join(folder, 'sa.key')}`,
    `--token-auth-file=${join(folder, 'tokens.csv')}`,
    '--authorization-mode=RBAC',
    `--secure-port=${secure}`,
    '--bind-address=127.0.0.1',
    '--service-cluster-ip-range=10.96.0.0/16',
    `--cert-dir=${join(folder, 'certs')}`,
    '--disable-admission-plugins=ServiceAccount',
    '--enable-priority-and-fairness=false',
    ...auditFlags(folder, auditPolicy),
  ]);
  const config = new KubeConfig();
  const settings = {
    clusters: [{ name: 'test', cluster: { server: url, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'admin', user: { token: TOKEN } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
    'current-context': 'test',
  };
  const kubeconfig = join(folder, 'kubeconfig');
  writeFileSync(kubeconfig, JSON.stringify({ apiVersion: 'v1', kind: 'Config', ...settings }), { mode: 0o600 });
  config.loadFromFile(kubeconfig);
  const api = new KubernetesApi(config);
  const deadlineMs = monotonicMs() + START_TIMEOUT_MS;
  for (;;) {
    try {
      // The default namespace is made last.
      await api.request('GET', '/api/v1/namespaces/default', { timeoutMs: 2000 });
      return { api, config, kubeconfig, bin, url, folder, stop };
    } catch (error) {
      if (monotonicMs() > deadlineMs || children.some((child) => child.exitCode !== null)) {
        const logs = ['etcd', 'apiserver'].map((name) => tail(join(folder, `${name}.log`))).join('\n');
        await stop();
        throw new Error(`the API server did not start: ${String(error)}\n${logs}`);
      }
      await delay(200);
    }
  }
}

function auditFlags(folder: string, policy: object | undefined): string[] {
  if (policy === undefined) return [];
  const file = join(folder, 'audit-policy.json');
  writeFileSync(file, JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', ...policy }));
  return [`--audit-policy-file=${file}`, `--audit-log-path=${join(folder, 'audit.log')}`, '--audit-log-mode=blocking'];
}

function tail(path: string): string {
  return readFileSync(path, 'utf8').split('\n').slice(-15).join('\n');
}

/** Ports of 127.0.0.1 that nobody listens on. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Waits until the condition gives something, or throws. */
export async function eventually<T>(
  what: string,
  condition: () => Promise<T | undefined | false>,
  timeoutMs = 30_000,
): Promise<T> {
  const deadlineMs = monotonicMs() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      last = error;
    }
    if (monotonicMs() > deadlineMs)
      throw new Error(`not within ${timeoutMs} ms: ${what}${last ? ` (${String(last)})` : ''}`);
    await delay(50);
  }
}

const DEFINITIONS: Resource = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
  namespaced: false,
};

interface Definition extends KubernetesObject {
  status?: { conditions?: { type: string; status: string; message?: string }[] };
}

/** Installs the CRDs as a user does, and waits until they are served. */
export async function installDefinitions(target: Objects): Promise<void> {
  for (const file of ['fileserverclusters.yaml', 'handlemigrations.yaml']) {
    const crd = parse(readFileSync(join(root, 'crds', file), 'utf8')) as KubernetesObject;
    await target.apply(DEFINITIONS, crd);
    await eventually(`${file} is served`, async () => {
      const now = await target.get<Definition>(DEFINITIONS, '', crd.metadata?.name ?? '');
      return now.status?.conditions?.some((c) => c.type === 'Established' && c.status === 'True');
    });
  }
}

/** What clusters of a test need to be there: the claim "media" of a volume, and the Secret "users" with alice in it. */
export async function createVolumeAndUsers(target: Objects, namespace: string): Promise<void> {
  await target.create(CLAIMS, {
    metadata: { namespace, name: 'media' },
    spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '1Gi' } } },
  } as KubernetesObject);
  await target.create(SECRETS, {
    metadata: { namespace, name: 'users' },
    stringData: { alice: 'x' },
  } as KubernetesObject);
}
