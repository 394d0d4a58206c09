import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Kubernetes } from '../cluster/kubernetes.ts';
import { eventually } from '../cluster/shell.ts';

const READY_MS = 30_000;

/** A port of this machine that leads to a Service, by way of the API server: one pod of it, for as long as that lives. */
export class PortForward {
  readonly port: number;
  readonly #child: ChildProcess;

  private constructor(port: number, child: ChildProcess) {
    this.port = port;
    this.#child = child;
  }

  static async open(cluster: Kubernetes, namespace: string, service: string, port: number): Promise<PortForward> {
    const args = ['port-forward', '-n', namespace, `service/${service}`, `:${port}`, '--address', '127.0.0.1'];
    const child = spawn('kubectl', args, { stdio: ['ignore', 'pipe', 'pipe'], env: cluster.environment() });
    const said: string[] = [];
    child.once('error', (error) => said.push(error.message));
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', (line) => said.push(line));
    try {
      const own = await eventually(`a port of this machine leads to ${service}`, READY_MS, () => {
        const found = /^Forwarding from 127\.0\.0\.1:(\d+)/m.exec(said.join('\n'))?.[1];
        if (found === undefined) throw new Error(said.slice(-3).join('; '));
        return Number(found);
      });
      return new PortForward(own, child);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  close(): void {
    this.#child.kill('SIGTERM');
  }
}
