// A cluster as the operator makes it, its containers as processes: what they show of secrets, and the trace of a migration through all of
// them.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { CoreV1Event, V1ReplicaSet, V1Secret, V1StatefulSet } from '@kubernetes/client-node';
import { Client } from '../../client/index.ts';
import { storeConnection } from '../../common/tls.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import { CLAIMS, CLUSTERS, MIGRATIONS, REPLICA_SETS, SECRETS, STATEFUL_SETS } from '../../operator/kinds.ts';
import { EVENTS } from '../../operator/runtime/events.ts';
import { type KubernetesObject, Objects } from '../../operator/runtime/objects.ts';
import { asked } from '../../sidecar/member/local.ts';
import { ntHash } from '../../smb/auth/nt-hash.ts';
import { ended } from '../cluster/shell.ts';
import { type ApiServer, eventually, installDefinitions, NAMESPACES, startApiServer } from './operator-api-server.ts';
import { PodProcesses } from './pod-processes.ts';

const ROOT = join(import.meta.dirname, '../..');
const NAMESPACE = 'media';
const PATIENCE_MS = 60_000;
/** Addresses of pods; processes that run side by side have different ones. */
const NETWORK = `127.${128 + ((process.pid >> 8) & 63)}.${process.pid & 255}`;
const PASSWORDS = { alice: 'a password that nobody may see', bob: 'of bob, who has only a hash' };
/** What Redis asks for instead, and only this test knows. */
const ANOTHER = 'another-password-of-the-store';
const WRONG = 'what somebody typed by mistake';

interface SentSpan {
  service: string;
  instance: string | undefined;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
}

interface Attribute {
  key: string;
  value: { stringValue?: string };
}

interface Sent {
  resourceSpans: { resource: { attributes: Attribute[] }; scopeSpans: { spans: SentSpan[] }[] }[];
}

const folder = mkdtempSync(join(tmpdir(), 'holdfast-data-'));
const spans: SentSpan[] = [];
const operatorSaid: string[] = [];
let collector: Server;
let server: ApiServer;
let objects: Objects;
let operator: ChildProcess;
let operatorMetrics = '';
let pods: PodProcesses;
let addresses: string[];
let migration: HandleMigration;

async function collect(): Promise<string> {
  collector = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    for (const { resource, scopeSpans } of (JSON.parse(body) as Sent).resourceSpans) {
      const attribute = (name: string) => resource.attributes.find(({ key }) => key === name)?.value.stringValue;
      const [service = '', instance] = ['service.name', 'service.instance.id'].map(attribute);
      for (const scope of scopeSpans) spans.push(...scope.spans.map((span) => ({ ...span, service, instance })));
    }
    response.end('{}');
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
}

function startOperator(endpoint: string): void {
  const flags = ['--image', 'holdfast.dev/holdfast:test', '--metrics', '127.0.0.1:0', '--all-namespaces'];
  operator = spawn(process.execPath, ['operator/main.ts', '--kubeconfig', server.kubeconfig, ...flags], {
    cwd: ROOT,
    env: { PATH: process.env.PATH ?? '', HOLDFAST_LOG_LEVEL: 'trace', OTEL_EXPORTER_OTLP_ENDPOINT: endpoint },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (operator.stderr)
    createInterface({ input: operator.stderr }).on('line', (line) => {
      operatorSaid.push(line);
      const port = /"metricsPort":(\d+)/.exec(line)?.[1];
      if (port !== undefined) operatorMetrics = `http://127.0.0.1:${port}/metrics`;
      if (process.env.SHOW_LOGS) process.stderr.write(`operator: ${line}\n`);
    });
}

/** The object, as soon as the operator has made it. */
const made = <T>(kind: typeof REPLICA_SETS, name?: string): Promise<T> =>
  eventually(
    `there is a ${kind.kind} ${name ?? ''}`,
    async () =>
      (await objects.list<T & KubernetesObject>(kind, NAMESPACE)).find((o) => !name || o.metadata?.name === name),
    PATIENCE_MS,
  );

async function startCluster(): Promise<void> {
  await objects.create(NAMESPACES, { metadata: { name: NAMESPACE } });
  await objects.create(CLAIMS, {
    metadata: { namespace: NAMESPACE, name: 'media' },
    spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '1Gi' } } },
  } as KubernetesObject);
  await objects.create(SECRETS, {
    metadata: { namespace: NAMESPACE, name: 'users' },
    stringData: { alice: PASSWORDS.alice, bob: `nt:${ntHash(PASSWORDS.bob).toString('hex')}` },
  } as KubernetesObject);
  await objects.create(CLUSTERS, {
    metadata: { namespace: NAMESPACE, name: 'media' },
    spec: {
      replicas: 2,
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'media' } }],
      shares: [
        { name: 'projects', volume: 'data', continuouslyAvailable: true, access: [{ principal: '*' }] },
        { name: 'films', volume: 'data', path: '/films', access: [{ principal: '*' }] },
      ],
      users: { secretRef: { name: 'users' } },
      migration: { rebalance: false },
    },
  } as KubernetesObject);
  const store = `${NETWORK}.1`;
  const names = new Map([
    ['media-redis.media.svc', store],
    ['bind * -::*', `bind ${store}`],
  ]);
  const env = { HOLDFAST_LOG_LEVEL: 'trace' };
  pods = new PodProcesses({ objects, namespace: NAMESPACE, folder, network: NETWORK, names, env });
  const [redis, servers] = [await made<V1StatefulSet>(STATEFUL_SETS), await made<V1ReplicaSet>(REPLICA_SETS)];
  await pods.start('media-redis-0', redis.spec?.template ?? {});
  addresses = [pods.address(), pods.address(1)].map((address) => `${address}:445`);
  await Promise.all(['media-0', 'media-1'].map((name) => pods.start(name, servers.spec?.template ?? {})));
}

const clientOf = (user: keyof typeof PASSWORDS, password = PASSWORDS[user], to = addresses) =>
  Client.connect({ addresses: to, user, password, share: 'projects' });

/** Logons that work and one that does not, a file that is moved, and a store that does not take the password any more. */
async function live(): Promise<void> {
  const [first = ''] = addresses;
  await expect(clientOf('bob', WRONG)).rejects.toThrow();
  await (await clientOf('bob')).close();
  const client = await clientOf('alice', PASSWORDS.alice, [first, ...addresses.slice(1)]);
  const file = await client.open('held', { access: 'readwrite', disposition: 'create' });
  await file.write(0, Buffer.from('held'));
  await objects.create(MIGRATIONS, {
    metadata: { namespace: NAMESPACE, name: 'by-hand' },
    spec: { cluster: 'media', source: 'media-0', targets: ['media-1'], reason: 'Manual' },
  } as KubernetesObject);
  migration = await eventually(
    'the handle has moved',
    async () => {
      const now = await objects.get<HandleMigration>(MIGRATIONS, NAMESPACE, 'by-hand');
      return now.status?.endTime !== undefined && now;
    },
    PATIENCE_MS,
  );
  await file.write(4, Buffer.from(' on'));
  await client.close();
}

beforeAll(async () => {
  const endpoint = await collect();
  server = await startApiServer();
  objects = new Objects(server.api);
  await installDefinitions(objects);
  startOperator(endpoint);
  await startCluster();
  await live();
}, 240_000);

afterAll(async () => {
  await pods?.stop();
  if (operator?.exitCode === null) {
    const over = ended(operator);
    operator.kill('SIGKILL');
    await over;
  }
  collector?.closeAllConnections();
  collector?.close();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

describe('a migration', () => {
  test('is one trace, through operator, sidecars and file servers', async () => {
    expect(migration.status).toMatchObject({ phase: 'Succeeded', handles: { moved: 1 } });
    const traceId = migration.metadata.uid?.replaceAll('-', '') ?? '';
    const own = () => spans.filter((span) => span.traceId === traceId);
    const said = () => own().map(({ service, instance, name }) => [service, instance, name].filter(Boolean).join(' '));
    const wanted = [
      'holdfast-operator migration',
      'holdfast-operator prepare',
      'holdfast-operator move',
      'holdfast-sidecar media-0 prepare targets',
      'holdfast-sidecar media-1 keep records',
      'holdfast-sidecar media-0 hand over',
      'holdfast-sidecar media-0 hand a session over',
      'holdfast-sidecar media-1 take over',
    ];
    await eventually(
      'all have sent theirs',
      async () => wanted.every((name) => said().includes(name)) && said().length >= wanted.length + 3,
      PATIENCE_MS,
    ).catch(() => undefined); // what is missing is said below
    expect(said()).toEqual(expect.arrayContaining(wanted));
    const named = (name: string) => own().find((span) => span.name === name);
    const parentOf = (name: string) => own().find(({ spanId }) => spanId === named(name)?.parentSpanId)?.name;
    expect(['prepare targets', 'keep records', 'look names up'].map(parentOf)).toEqual([
      'prepare',
      'prepare targets',
      'keep records',
    ]);
    expect(['hand over', 'hand a session over', 'quiesce', 'release', 'take over'].map(parentOf)).toEqual([
      'move',
      'hand over',
      ...['hand a session over', 'hand a session over', 'hand a session over'],
    ]);
    const servers = own().filter(({ service }) => service === 'holdfast-fileserver');
    expect(new Set(servers.map(({ name }) => name))).toEqual(new Set(['look names up', 'quiesce', 'release']));
  }, 90_000);
});

/** The condition of the cluster, as soon as it has that reason and says that. @param meanwhile done again and again until then */
const becomes = (type: string, reason: string, text = '', meanwhile?: () => Promise<unknown>) =>
  eventually(
    `${type} says ${reason} ${text}`,
    async () => {
      await meanwhile?.();
      const { status } = await objects.get<FileServerCluster>(CLUSTERS, NAMESPACE, 'media');
      const found = status?.conditions?.find((condition) => condition.type === type);
      return found?.reason === reason && found.message.includes(text) && found;
    },
    PATIENCE_MS,
  );

test('a share whose folder is missing is named by the cluster, until it is there', async () => {
  const { message } = await becomes('Degraded', 'ShareUnavailable');
  expect(message).toMatch(/share "films": the folder \/films of volume "data" cannot be shared/);
  expect(message).not.toContain('projects');
  mkdirSync(join(folder, 'claim-media', 'films'));
  await becomes('Degraded', 'AsExpected');
}, 90_000);

/** The password of the store, as its Secret has it. */
async function storePassword(): Promise<string> {
  const { data = {} } = await objects.get<V1Secret>(SECRETS, NAMESPACE, 'media-redis');
  return Buffer.from(data.password ?? '', 'base64').toString('utf8');
}

/** From now on Redis asks for this password alone, of those who are connected too. */
async function storeAsksFor(password: string): Promise<void> {
  const known = [await storePassword(), ANOTHER];
  const { data = {} } = await objects.get<V1Secret>(SECRETS, NAMESPACE, 'media-tls');
  const file = (name: string) => Buffer.from(data[name] ?? '', 'base64');
  const tls = storeConnection({ ca: file('ca.crt'), certificate: file('tls.crt'), key: file('tls.key') });
  const change = () =>
    asked({ host: `${NETWORK}.1`, port: 6379, tls }, known, async (redis) => {
      await redis.call('ACL', 'SETUSER', 'default', 'resetpass', `>${password}`);
      await redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      return true;
    });
  await eventually('the store has another password', change, PATIENCE_MS);
}

/** The operator looks at a cluster every ten seconds, and when it changes. */
const touchCluster = () =>
  objects.patch(CLUSTERS, NAMESPACE, 'media', {
    metadata: { annotations: { touched: String(Math.floor(Date.now() / 1000)) } },
  });

/** How often an Event about the cluster was written. */
async function timesTold(type: string, reason: string, text: string): Promise<number> {
  const events = await objects.list<CoreV1Event>(EVENTS, NAMESPACE);
  return events
    .filter(({ involvedObject }) => involvedObject.kind === 'FileServerCluster' && involvedObject.name === 'media')
    .filter((event) => event.type === type && event.reason === reason && event.message?.includes(text))
    .reduce((sum, { count = 1 }) => sum + count, 0);
}

test('a store that refuses the password is named by the cluster, until it takes it again', async () => {
  const refusal = 'does not take the password of the user "default" (WRONGPASS';
  const isWell = 'all file servers that answer reach the store';
  await becomes('StateStoreReady', 'Reachable');
  const before = await timesTold('Normal', 'Reachable', isWell);

  await storeAsksFor(ANOTHER);
  expect(await becomes('StateStoreReady', 'StoreRefused', refusal)).toMatchObject({ status: 'False' });
  await eventually(
    'there is a warning',
    async () => (await timesTold('Warning', 'StoreRefused', refusal)) > 0,
    PATIENCE_MS,
  );

  await storeAsksFor(await storePassword());
  expect(await becomes('StateStoreReady', 'Reachable', isWell, touchCluster)).toMatchObject({ status: 'True' });
  await eventually(
    'an Event says that it is over',
    async () => (await timesTold('Normal', 'Reachable', isWell)) > before,
    PATIENCE_MS,
  );
  const client = await clientOf('alice');
  await (await client.open('after', { access: 'readwrite', disposition: 'create' })).close();
  await client.close();
}, 240_000);

/** Everything that must not be seen, by what it is. Of a key any line would do. */
async function secretsInUse(): Promise<Map<string, string>> {
  const found = new Map<string, string>([
    [
      'the token of the API server',
      (JSON.parse(readFileSync(server.kubeconfig, 'utf8')) as Config).users[0].user.token,
    ],
    ['a mistyped password', WRONG],
    ['a password that Redis asks for', ANOTHER],
  ]);
  for (const [user, password] of Object.entries(PASSWORDS)) {
    found.set(`the password of ${user}`, password);
    found.set(`the NT hash of ${user}`, ntHash(password).toString('hex'));
    found.set(`the NT hash of ${user} in base64`, ntHash(password).toString('base64'));
  }
  for (const { metadata, data = {} } of await objects.list<V1Secret>(SECRETS, NAMESPACE)) {
    for (const [key, value] of Object.entries(data)) {
      if (!['password', 'accepted'].includes(key) && !key.endsWith('.key')) continue;
      const lines = Buffer.from(value, 'base64').toString('utf8').split('\n');
      const telling = lines.filter((line) => line.length >= 16 && !line.startsWith('---'));
      for (const [i, line] of telling.entries()) found.set(`${metadata?.name} ${key} ${i}`, line);
    }
  }
  return found;
}

interface Config {
  users: [{ user: { token: string } }];
}

describe('no secret that is in use', () => {
  test('is in the environment, the arguments, the log or the metrics of any process', async () => {
    // A store that does not take the password any more: errors of logging on like to tell with what.
    const secrets = await secretsInUse();
    const before = pods.of('sidecar').map(({ said }) => said.length);
    await storeAsksFor(ANOTHER);
    await eventually(
      'sidecars have said that they are not let in',
      async () =>
        pods.of('sidecar').every(({ said }, i) => said.slice(before[i]).some((line) => line.includes('WRONGPASS'))),
      PATIENCE_MS,
    );

    const places = new Map<string, string>([['operator log', operatorSaid.join('\n')]]);
    const processes = [{ name: 'operator', process: operator }, ...pods.running];
    for (const { name, process: child } of processes) {
      for (const file of ['environ', 'cmdline']) {
        places.set(`${name} ${file}`, readFileSync(`/proc/${child.pid}/${file}`, 'utf8'));
      }
    }
    for (const { name, said } of pods.running) places.set(`${name} log`, said.join('\n'));
    places.set('operator metrics', await (await fetch(operatorMetrics)).text());
    for (const address of addresses.map((one) => one.replace(/:.*/, ''))) {
      for (const port of [9445, 9446])
        places.set(`metrics of ${address}:${port}`, await (await fetch(`http://${address}:${port}/metrics`)).text());
    }
    // Two pods of two containers, Redis with its keeper, the operator.
    expect(processes).toHaveLength(7);
    expect([...secrets.keys()]).toEqual(
      expect.arrayContaining(['media-redis accepted 0', 'media-tls tls.key 0', 'the NT hash of bob']),
    );
    for (const [place, text] of places)
      if (!place.startsWith('media-redis-0')) expect([place, text.length > 1]).toEqual([place, true]);
    // What it is and where it was, not the secret itself.
    const seen = [...places].flatMap(([place, text]) =>
      [...secrets].filter(([, secret]) => text.includes(secret)).map(([what]) => `${place}: ${what}`),
    );
    expect(seen).toEqual([]);
  }, 120_000);
});
