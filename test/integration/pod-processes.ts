import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { V1ConfigMap, V1Container, V1Pod, V1PodTemplateSpec, V1Secret, V1Volume } from '@kubernetes/client-node';
import { CONFIG_MAPS, PODS, SECRETS } from '../../operator/kinds.ts';
import type { Objects } from '../../operator/runtime/objects.ts';
import { ended, eventually } from '../cluster/shell.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Processes that start side by side on a machine that is busy with other things. */
const STARTED_WITHIN_MS = 120_000;
/** The commands of `holdfast` that containers run, from their sources. */
const PROGRAMS: Record<string, string> = {
  fileserver: 'fileserver/main.ts',
  sidecar: 'sidecar/main.ts',
  store: 'sidecar/member/main.ts',
};

/** A container that runs here: its process, and all that it has said. */
export interface Running {
  name: string;
  process: ChildProcess;
  said: string[];
}

export interface PodProcessesOptions {
  objects: Objects;
  namespace: string;
  /** Where the folders of the pods are made. */
  folder: string;
  /** First three bytes of the addresses of pods, of 127.0.0.0/8. */
  network: string;
  /** What stands in configurations and arguments for names that only a cluster knows, and what is meant by it here. */
  names: ReadonlyMap<string, string>;
  /** Of every container, beyond what its template says. */
  env?: Record<string, string>;
}

/**
 * A kubelet of a kind: runs the containers of a pod template as processes, with the commands, arguments, environment and mounts that the
 * template says, and nothing else. What is a path in a container is a folder here, and 0.0.0.0 the pod's own address.
 */
export class PodProcesses {
  readonly running: Running[] = [];
  readonly #options: PodProcessesOptions;
  #pods = 0;

  constructor(options: PodProcessesOptions) {
    this.#options = options;
  }

  /** The address that the pod will have that is started next, or so many after it. */
  address(after = 0): string {
    return `${this.#options.network}.${this.#pods + 1 + after}`;
  }

  /** Makes the pod, starts what is in it, and says that it runs, and that it is ready when it is. */
  async start(name: string, template: V1PodTemplateSpec): Promise<V1Pod> {
    const { objects, namespace, folder } = this.#options;
    const address = this.address();
    const nodeName = `node-${++this.#pods}`;
    const { metadata, spec } = template;
    const { containers = [], initContainers = [] } = spec ?? {};
    const all = [...initContainers, ...containers];
    const mounts = all.flatMap(({ volumeMounts = [] }) => volumeMounts);
    const given = spec?.volumes ?? [];
    // A StatefulSet's own claims are not in its template.
    const own = new Set(
      mounts.map((mount) => mount.name).filter((volume) => !given.some(({ name }) => name === volume)),
    );
    const volumes = [...given, ...[...own].map((volume): V1Volume => ({ name: volume, emptyDir: {} }))];
    const made = await objects.create<V1Pod>(PODS, {
      metadata: { namespace, name, labels: metadata?.labels ?? {}, annotations: metadata?.annotations ?? {} },
      spec: { ...spec, containers, volumes, nodeName },
    });
    const folderOf = (volume: string) => {
      const claim = volumes.find((one) => one.name === volume)?.persistentVolumeClaim?.claimName;
      return claim === undefined ? join(folder, name, volume) : join(folder, `claim-${claim}`);
    };
    const folders = new Map(mounts.map(({ name: volume, mountPath }) => [mountPath, folderOf(volume)]));
    for (const path of folders.values()) mkdirSync(path, { recursive: true, mode: 0o700 });
    const here = (text: string) => this.#here(text, folders, address);
    for (const volume of volumes) {
      for (const [file, text] of await this.#files(volume))
        writeFileSync(join(folderOf(volume.name), file), here(text), { mode: 0o600 });
    }
    const fields = { 'status.podIP': address, 'metadata.uid': made.metadata?.uid ?? '', 'metadata.name': name };
    for (const container of all) this.#run(container, name, { ...fields, 'spec.nodeName': nodeName }, here);
    const say = (ready: boolean) =>
      objects.patch(PODS, namespace, name, { status: statusOf(containers, initContainers, address, ready) }, 'status');
    await say(false);
    for (const container of containers) await this.#ready(container, name, address);
    await say(true);
    return made;
  }

  /** The containers of that name, of all pods. */
  of(container: string): Running[] {
    return this.running.filter(({ name }) => name.endsWith(`/${container}`));
  }

  async stop(): Promise<void> {
    const alive = this.running.filter(({ process }) => process.exitCode === null && process.signalCode === null);
    const over = alive.map(({ process }) => ended(process));
    for (const { process } of alive) process.kill('SIGKILL');
    await Promise.all(over);
  }

  /** What a volume holds that comes from the API server. */
  async #files(volume: V1Volume): Promise<[string, string][]> {
    const { objects, namespace } = this.#options;
    if (volume.configMap) {
      const { data = {} } = await objects.get<V1ConfigMap>(CONFIG_MAPS, namespace, volume.configMap.name ?? '');
      return Object.entries(data);
    }
    if (!volume.secret) return [];
    const { data = {} } = await objects.get<V1Secret>(SECRETS, namespace, volume.secret.secretName ?? '');
    const items = volume.secret.items ?? Object.keys(data).map((key) => ({ key, path: key }));
    return items.map(({ key, path }) => [path, Buffer.from(data[key] ?? '', 'base64').toString('utf8')]);
  }

  #here(text: string, folders: ReadonlyMap<string, string>, address: string): string {
    // In one go, the longest first: what was put in must not be taken for a path of the container.
    const paths = [...folders.keys()].sort((a, b) => b.length - a.length).join('|');
    let result = text.replaceAll(new RegExp(`(?<![\\w/])(${paths})(?!\\w)`, 'g'), (path) => folders.get(path) ?? path);
    for (const [name, meant] of this.#options.names) result = result.replaceAll(name, meant);
    return result.replaceAll('0.0.0.0', address);
  }

  #run(container: V1Container, pod: string, fields: Record<string, string>, here: (text: string) => string): void {
    const variables = (container.env ?? []).map(({ name, value, valueFrom }): [string, string] => [
      name,
      value ?? fields[valueFrom?.fieldRef?.fieldPath ?? ''] ?? '',
    ]);
    const known = new Map(variables);
    const words = [...(container.command ?? []), ...(container.args ?? [])].map((word) =>
      here(word.replaceAll(/\$\((\w+)\)/g, (_, variable: string) => known.get(variable) ?? '')),
    );
    const [program = '', part = '', ...rest] = words;
    const [command = '', ...args] =
      program === 'holdfast' ? [process.execPath, join(ROOT, PROGRAMS[part] ?? ''), ...rest] : words;
    // The pod's name is its host name.
    const named = ['--uts', 'sh', '-c', 'echo "$0" > /proc/sys/kernel/hostname && exec "$@"', pod, command, ...args];
    const child = spawn('unshare', named, {
      env: { PATH: process.env.PATH ?? '', ...Object.fromEntries(variables), ...this.#options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const running: Running = { name: `${pod}/${container.name}`, process: child, said: [] };
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        running.said.push(line);
        if (process.env.SHOW_LOGS) process.stderr.write(`${running.name}: ${line}\n`);
      });
    }
    this.running.push(running);
  }

  /** As its readiness probe has it. */
  async #ready({ name, readinessProbe }: V1Container, pod: string, address: string): Promise<void> {
    const running = this.running.find((one) => one.name === `${pod}/${name}`);
    const isReady = async (): Promise<boolean> => {
      if (running?.process.exitCode !== null)
        throw new Error(`${pod}/${name} ended: ${running?.said.slice(-20).join('\n')}`);
      const { httpGet, tcpSocket } = readinessProbe ?? {};
      if (httpGet) return (await fetch(`http://${address}:${httpGet.port}${httpGet.path}`)).ok;
      return tcpSocket === undefined || (await accepts(address, Number(tcpSocket.port)));
    };
    await eventually(
      `${pod}/${name} is ready`,
      STARTED_WITHIN_MS,
      async () => ((await isReady()) ? true : undefined),
      50,
    );
  }
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

function statusOf(
  containers: readonly V1Container[],
  initContainers: readonly V1Container[],
  podIP: string,
  ready: boolean,
) {
  const state = { running: { startedAt: new Date().toISOString() } };
  const common = { image: 'x', imageID: 'x', lastState: {}, ready, restartCount: 0, started: true, state };
  return {
    phase: 'Running',
    podIP,
    podIPs: [{ ip: podIP }],
    conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
    containerStatuses: containers.map(({ name }) => ({ name, ...common })),
    initContainerStatuses: initContainers.map(({ name }) => ({ name, ...common })),
  };
}
