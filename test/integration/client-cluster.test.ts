// `holdfast top` and `holdfast migrations` on a real API server.
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Command } from 'commander';
import { addClusterCommands } from '../../client/cli/kubernetes/commands.ts';
import { ClusterAccessError } from '../../client/cli/kubernetes/errors.ts';
import { delay } from '../../common/time.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import { CLUSTERS, MIGRATIONS, PODS } from '../../operator/kinds.ts';
import { type KubernetesObject, Objects, type Resource } from '../../operator/runtime/objects.ts';
import { ended } from '../cluster/shell.ts';
import { SHARE, Stage } from '../faults/stage.ts';
import { PASSWORD, USER } from '../serving.ts';
import { type ApiServer, eventually, installDefinitions, NAMESPACES, startApiServer } from './operator-api-server.ts';

const ROOT = join(import.meta.dirname, '../..');
const NAMESPACE = 'team';
const ROLES: Resource = { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', plural: 'roles', namespaced: true };
const BINDINGS: Resource = { ...ROLES, kind: 'RoleBinding', plural: 'rolebindings' };

let server: ApiServer;
let objects: Objects;

interface Result {
  code: number | null;
  out: string;
  err: string;
}

function start(args: string[], env: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, ['client/cli/main.ts', ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, HOME: server.folder, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => {
    said.out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    said.err += chunk.toString();
  });
  return { child, said };
}

/** Runs the command here, which takes a process' start less, and puts what it says in words as main.ts does. */
async function holdfast(args: string[], env: NodeJS.ProcessEnv = { KUBECONFIG: server.kubeconfig }): Promise<Result> {
  let out = '';
  const output = {
    write: (text: string) => {
      out += text;
    },
    once: () => undefined,
  };
  const program = new Command('holdfast').exitOverride().configureOutput({ writeErr: () => undefined });
  addClusterCommands(program, output);
  const before = { ...process.env };
  process.env = { PATH: before.PATH, HOME: server.folder, ...env };
  try {
    await program.parseAsync(args, { from: 'user' });
    return { code: 0, out, err: '' };
  } catch (error) {
    const code = error instanceof ClusterAccessError ? 3 : 2;
    return { code, out, err: (error as Error).message };
  } finally {
    process.env = before;
  }
}

/** A kubeconfig of somebody whom RBAC lets do nothing but what a test binds. */
function kubeconfigOf(user: string): string {
  const config = JSON.parse(readFileSync(server.kubeconfig, 'utf8')) as { users: { user: Record<string, unknown> }[] };
  for (const { user: credentials } of config.users) Object.assign(credentials, { as: user });
  const path = join(server.folder, `kubeconfig-${user}`);
  writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
  return path;
}

beforeAll(async () => {
  server = await startApiServer();
  objects = new Objects(server.api);
  await installDefinitions(objects);
  for (const name of [NAMESPACE, 'empty']) await objects.create(NAMESPACES, { metadata: { name } });
  const clusters = { metadata: { namespace: NAMESPACE, name: 'media' } };
  await eventually('clusters can be made', () =>
    objects.create(CLUSTERS, {
      ...clusters,
      spec: {
        volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'media' } }],
        shares: [{ name: 'projects', volume: 'data' }],
        users: { secretRef: { name: 'media-users' } },
      },
    } as KubernetesObject),
  );
  const status = {
    readyReplicas: 2,
    handles: { open: 7, disconnected: 0 },
    servers: [{ pod: 'media-a', node: 'n1', epoch: 1, phase: 'Active', sessions: 2, handles: 7 }],
  };
  await objects.patch(CLUSTERS, NAMESPACE, 'media', { status }, 'status');
  await objects.create(MIGRATIONS, {
    metadata: { namespace: NAMESPACE, name: 'by-hand' },
    spec: { cluster: 'media', source: 'media-a', reason: 'Manual' },
  } as KubernetesObject);
}, 120_000);

afterAll(() => server?.stop());

describe('holdfast top', () => {
  test('prints clusters and servers once, where nobody watches', async () => {
    const { code, out, err } = await holdfast(['top', '-n', NAMESPACE]);
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/^CLUSTER +READY +STATE/);
    expect(out).toMatch(/^media +2\/2 +Unknown +2 +7 +0 +1 /m);
    expect(out).toMatch(/^media +media-a +n1 +Active +1 +2 +7 +- +- +- +Manual Pending$/m);
  });

  test('prints JSON for programs, of all namespaces', async () => {
    const { code, out } = await holdfast(['top', '-A', '-o', 'json', '--no-metrics']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      clusters: [{ namespace: NAMESPACE, cluster: 'media', ready: 2, desired: 2, handles: 7, migrating: 1 }],
      servers: [{ pod: 'media-a', phase: 'Active', sessions: 2, move: 'Manual Pending' }],
    });
  });

  test('prints again and again with --watch, and ends well when it is told to', async () => {
    const args = ['top', '-n', NAMESPACE, '--watch', '--interval', '200ms', '-o', 'json', '--no-metrics'];
    const { child, said } = start(args, { KUBECONFIG: server.kubeconfig });
    await eventually('it has printed three times', async () => said.out.split('\n').length > 3);
    await objects.patch(CLUSTERS, NAMESPACE, 'media', { status: { handles: { open: 8 } } }, 'status');
    await eventually('it shows what changed', async () => said.out.includes('"handles":8'));
    await objects.patch(CLUSTERS, NAMESPACE, 'media', { status: { handles: { open: 7 } } }, 'status');
    child.kill('SIGINT');
    expect(await ended(child)).toBe(0);
  });

  test('shows rates of pods whose metrics it may read', async () => {
    // The API server does not go to loopback addresses of pods: the pod gets another address of this machine.
    const address = Object.values(networkInterfaces())
      .flat()
      .find((candidate) => candidate?.family === 'IPv4' && !candidate.internal)?.address;
    if (address === undefined) return;
    let requests = 0;
    const pod: Server = createServer((_request, response) => {
      requests += 50;
      response.end(
        `holdfast_fileserver_requests_total{command="READ"} ${requests}\nholdfast_fileserver_sent_bytes_total ${requests}\n`,
      );
    });
    await new Promise<void>((resolve, reject) => pod.once('error', reject).listen(9445, address, resolve));
    try {
      await objects.create(PODS, {
        metadata: { namespace: NAMESPACE, name: 'media-a' },
        spec: { containers: [{ name: 'fileserver', image: 'holdfast', ports: [{ containerPort: 9445 }] }] },
      } as KubernetesObject);
      const status = { phase: 'Running', podIP: address, podIPs: [{ ip: address }] };
      await objects.patch(PODS, NAMESPACE, 'media-a', { status }, 'status');
      const { out } = await holdfast(['top', '-n', NAMESPACE]);
      expect(out).toMatch(/^media +media-a .* +[1-9]\d +0B +[1-9]\dB +Manual Pending$/m);
    } finally {
      pod.closeAllConnections();
      pod.close();
    }
  });
});

describe('holdfast migrations', () => {
  test('prints moves', async () => {
    const { code, out } = await holdfast(['migrations', '-n', NAMESPACE]);
    expect(code).toBe(0);
    expect(out).toMatch(/^NAME +CLUSTER/);
    expect(out).toMatch(/^by-hand +media +media-a +Manual +Pending +0\/0 /m);
  });

  test('looks into the namespace of the context, and says that nothing is there', async () => {
    const { code, out } = await holdfast(['migrations']);
    expect([code, out]).toEqual([0, expect.stringContaining('No handles have been moved here')]);
  });

  test('is what kubectl calls, by its name for plugins', async () => {
    const { bin } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { bin: Record<string, string> };
    const folder = join(server.folder, 'plugins');
    mkdirSync(folder);
    symlinkSync(join(ROOT, bin['kubectl-holdfast'] ?? ''), join(folder, 'kubectl-holdfast'));
    const env = { PATH: `${folder}:${process.env.PATH}`, HOME: server.folder, KUBECONFIG: server.kubeconfig };
    const { stdout } = await promisify(execFile)(
      join(server.bin, 'kubectl'),
      ['holdfast', 'migrations', '-n', NAMESPACE],
      { env },
    );
    expect(stdout).toMatch(/^by-hand +media +media-a +Manual +Pending +0\/0 /m);
  });
});

describe('holdfast check', () => {
  let stage: Stage;
  let operator: Promise<void>;
  const done = new AbortController();

  /** What the operator does with a HandleMigration, on servers without pods. */
  async function operate(): Promise<void> {
    const seen = new Set<string>();
    while (!done.signal.aborted) {
      for (const { metadata, spec } of await objects.list<HandleMigration>(MIGRATIONS, 'empty')) {
        const name = metadata.name ?? '';
        if (seen.has(name)) continue;
        seen.add(name);
        const from = Number(spec.source.slice(-1));
        const control = await stage.control(from);
        const { moved, total } = await control.migrate({ migrationId: name, targetPods: [`local-${1 - from}`] });
        const status = { phase: 'Succeeded', message: `${moved} of ${total} handles moved`, duration: '0.1s' };
        await objects.patch(MIGRATIONS, 'empty', name, { status }, 'status');
      }
      await delay(50, done.signal).catch(() => undefined);
    }
  }

  beforeAll(async () => {
    stage = await Stage.start(2);
    for (const [i, address] of stage.serving.addresses.entries()) {
      const labels = { 'holdfast.dev/cluster': 'media', 'app.kubernetes.io/component': 'fileserver' };
      const ports = [{ containerPort: Number(address.split(':')[1]) }];
      await objects.create(PODS, {
        metadata: { namespace: 'empty', name: `local-${i}`, labels },
        spec: { containers: [{ name: 'fileserver', image: 'holdfast', ports }] },
      } as KubernetesObject);
      const status = { phase: 'Running', podIP: '127.0.0.1', podIPs: [{ ip: '127.0.0.1' }] };
      await objects.patch(PODS, 'empty', `local-${i}`, { status }, 'status');
    }
    operator = operate();
  }, 90_000);

  afterAll(async () => {
    done.abort();
    await operator;
    await stage?.stop();
  }, 30_000);

  const check = async (cluster: string, ...args: string[]): Promise<Result> => {
    const password = join(server.folder, 'password');
    writeFileSync(password, `${PASSWORD}\n`);
    const address = `smb://${USER}@${stage.serving.addresses.join(',')}/${SHARE}`;
    const command = ['check', address, '--cluster', cluster, '-n', 'empty', '--password-file', password, ...args];
    const { child, said } = start(command, { KUBECONFIG: server.kubeconfig });
    return { code: await ended(child), ...said };
  };

  test('opens a file, writes while it is moved, reads back, and leaves nothing behind', async () => {
    const { code, out, err } = await check('media');
    expect([code, err]).toEqual([0, '']);
    const [, before] = /^opened holdfast-check-\w+ at (\S+), continuously available$/m.exec(out) ?? [];
    const [, after] = /^1 of 1 handles moved in 0\.1s; the file is open at (\S+) now$/m.exec(out) ?? [];
    expect(stage.serving.addresses).toContain(before);
    expect(stage.serving.addresses).toContain(after);
    expect(after).not.toBe(before);
    expect(out).toMatch(/^wrote and read back \d+ blocks; the longest pause was \d+ ms\nclosed and removed it$/m);
    expect(readdirSync(stage.serving.directory).filter((name) => name.startsWith('holdfast-check'))).toEqual([]);
  }, 60_000);

  test('fails where the cluster has no such pod, and clears up', async () => {
    const { code, err } = await check('other');
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(/no pod of the cluster "other" has the address .*other-servers\.empty\.svc/),
    ]);
    expect(readdirSync(stage.serving.directory).filter((name) => name.startsWith('holdfast-check'))).toEqual([]);
  }, 60_000);
});

describe('what is wrong is said, with what to do', () => {
  test.each([
    ['no kubeconfig', ['top'], {}, /there is none: KUBECONFIG is not set.*--kubeconfig FILE/],
    [
      'one that is not there',
      ['top', '--kubeconfig', '/no/such'],
      {},
      /cannot use the kubeconfig \/no\/such.*--kubeconfig FILE/,
    ],
    ['a context that is not in it', ['top', '--context', 'other'], undefined, /it has no context "other"/],
  ] as const)('%s', async (_, args, env, message) => {
    const { code, out, err } = await holdfast([...args], env);
    expect([code, out]).toEqual([3, '']);
    expect(err).toMatch(message);
  });

  test('as one line and a status of its own, by the program', async () => {
    const { child, said } = start(['top', '--kubeconfig', '/no/such'], {});
    expect(await ended(child)).toBe(3);
    expect(said.out).toBe('');
    expect(said.err).toMatch(/^holdfast: cannot use the kubeconfig \/no\/such: [^\n]*\n$/);
  });

  test('an API server that is not there', async () => {
    const away = join(server.folder, 'kubeconfig-away');
    const { host } = new URL(server.url);
    writeFileSync(away, readFileSync(server.kubeconfig, 'utf8').replace(host, '127.0.0.1:1'));
    const { code, err } = await holdfast(['top', '--kubeconfig', away], {});
    expect([code, err]).toEqual([
      3,
      expect.stringMatching(/the API server 127\.0\.0\.1:1 does not answer: .*ECONNREFUSED/),
    ]);
  });

  test('no permission; a Role of the namespace is enough', async () => {
    const KUBECONFIG = kubeconfigOf('guest');
    const refused = await holdfast(['top', '-A'], { KUBECONFIG });
    expect(refused.code).toBe(3);
    expect(refused.err).toMatch(
      /you may not list fileserverclusters in all namespaces: ask for the verb "list".*kubectl auth can-i list fileserverclusters.holdfast.dev -A.*with -n NAMESPACE a Role is enough/,
    );
    const name = { namespace: NAMESPACE, name: 'guest' };
    await objects.create(ROLES, {
      metadata: name,
      rules: [{ apiGroups: ['holdfast.dev'], resources: ['fileserverclusters'], verbs: ['list'] }],
    } as KubernetesObject);
    await objects.create(BINDINGS, {
      metadata: name,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'guest' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'guest' }],
    } as KubernetesObject);
    const table = await eventually('the Role counts', async () => {
      const { code, out } = await holdfast(['top', '-n', NAMESPACE], { KUBECONFIG });
      return code === 0 && out;
    });
    expect(table).toMatch(/^media +media-a +n1 +Active +1 +2 +7 +- +- +- +-$/m);
    expect((await holdfast(['migrations', '-n', NAMESPACE], { KUBECONFIG })).err).toMatch(
      /you may not list handlemigrations in the namespace "team"/,
    );
  }, 30_000);

  test('Holdfast is not installed', async () => {
    await server.api.request(
      'DELETE',
      '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/handlemigrations.holdfast.dev',
    );
    const result = await eventually('the kind is gone', async () => {
      const one = await holdfast(['migrations']);
      return one.code === 3 && one;
    });
    expect(result.err).toMatch(/knows no handlemigrations.holdfast.dev: Holdfast is not installed there/);
  }, 30_000);

  test('options that contradict each other', async () => {
    expect((await holdfast(['top', '--watch', '--once'])).code).toBe(2);
    expect((await holdfast(['top', '-A', '-n', 'x'])).code).toBe(2);
  });
});
