import { join } from 'node:path';
import { type CommandOptions, run } from './shell.ts';

export const ROOT = join(import.meta.dirname, '..', '..');

/** What of an object of the Kubernetes API the tests read. */
export interface KubeObject {
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    uid: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    deletionTimestamp?: string;
    creationTimestamp: string;
  };
  // The shape differs from kind to kind; whoever reads a field knows which kind was asked for.
  spec?: Record<string, unknown>;
  status?: Record<string, unknown>;
}

/** A cluster that tests run on: the embedded one of this folder, or somebody's own. */
export class Kubernetes {
  readonly kubeconfig: string;
  /** The embedded cluster: its nodes may be killed and cut off, and its volume's folder is on this machine. */
  readonly embedded: boolean;
  readonly stateDirectory: string;
  readonly #programs: string;

  constructor(kubeconfig: string, embedded: boolean, stateDirectory: string, programs: string) {
    this.kubeconfig = kubeconfig;
    this.embedded = embedded;
    this.stateDirectory = stateDirectory;
    this.#programs = programs;
  }

  /** The cluster that HOLDFAST_KUBECONFIG names, else the embedded one, brought up if it is not. */
  static async get(say: (line: string) => void): Promise<Kubernetes> {
    const foreign = process.env.HOLDFAST_KUBECONFIG;
    if (foreign) return new Kubernetes(foreign, false, '', '');
    const state = process.env.HOLDFAST_CLUSTER_DIR ?? '/var/lib/holdfast-cluster';
    await run(join(ROOT, 'test/cluster/install-packages.sh'), ['cluster'], { onLine: say });
    await run(join(ROOT, 'test/cluster/build.sh'), [], { onLine: say });
    await run(join(ROOT, 'test/cluster/up.sh'), [], { onLine: say });
    return new Kubernetes(join(state, 'admin.conf'), true, state, join(state, 'bin'));
  }

  /** For programs that are run against it: KUBECONFIG, and kubectl and helm on the PATH. */
  environment(): NodeJS.ProcessEnv {
    return {
      ...process.env,
      KUBECONFIG: this.kubeconfig,
      PATH: this.#programs ? `${this.#programs}:${process.env.PATH}` : process.env.PATH,
    };
  }

  kubectl(args: string[], options: CommandOptions = {}): Promise<string> {
    return run('kubectl', args, { timeoutMs: 180_000, ...options, env: this.environment() });
  }

  helm(args: string[], options: CommandOptions = {}): Promise<string> {
    return run('helm', args, { timeoutMs: 300_000, ...options, env: this.environment() });
  }

  /** Objects of a kind, as JSON. */
  async list(kind: string, namespace: string, selector?: string): Promise<KubeObject[]> {
    const args = ['get', kind, '-n', namespace, '-o', 'json', ...(selector ? ['-l', selector] : [])];
    return (JSON.parse(await this.kubectl(args)) as { items: KubeObject[] }).items;
  }

  async get(kind: string, namespace: string, name: string): Promise<KubeObject | undefined> {
    const text = await this.kubectl(['get', kind, name, '-n', namespace, '-o', 'json', '--ignore-not-found']);
    return text.trim() === '' ? undefined : (JSON.parse(text) as KubeObject);
  }

  async apply(manifest: string): Promise<string> {
    return this.kubectl(['apply', '-f', '-'], { input: manifest });
  }

  /** Cuts a node of the embedded cluster off the network, joins it again, kills all that runs on it. */
  async node(action: 'cut' | 'join' | 'kill', name: string): Promise<void> {
    if (!this.embedded) throw new Error('nodes of a cluster that is not our own are left alone');
    await run(join(ROOT, 'test/cluster/node.sh'), [action, name]);
  }
}
