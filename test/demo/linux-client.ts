// The Linux kernel's own SMB client among the demo's writers: one open file, one line after another, in a small machine.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Kubernetes, ROOT } from '../cluster/kubernetes.ts';
import { ended, eventually } from '../cluster/shell.ts';
import { CLUSTER, NAMESPACE, SHARE, USER } from './installation.ts';

const FILE = 'linux-client.lines';
const STOP = 'linux-client.stop';

export interface LinuxResult {
  written: number;
  found: number;
  errors: number;
  /** Of the longest time between two written lines; the machine's clock shows whole seconds. */
  longestPauseS: number;
}

export class LinuxClient {
  readonly #cluster: Kubernetes;
  readonly #folder = mkdtempSync(join(tmpdir(), 'holdfast-linux-'));
  readonly #console: string[] = [];
  #child: ChildProcess | undefined;

  constructor(cluster: Kubernetes) {
    this.#cluster = cluster;
  }

  /** Boots, mounts the share through the client Service and begins to write. */
  async start(password: string): Promise<void> {
    const service = await this.#cluster.get('service', NAMESPACE, CLUSTER);
    const address = (service?.spec as { clusterIP?: string } | undefined)?.clusterIP ?? '';
    const commands = join(this.#folder, 'commands');
    // Opened without O_TRUNC a second time: one handle for the whole run. `sync` of the one file makes every line reach the server.
    writeFileSync(
      commands,
      `
mount -t cifs //${address}/${SHARE} /mnt -o username=${USER},password=${password},vers=3.1.1,persistenthandles,echo_interval=2,actimeo=1,cache=none
echo MOUNTED
exec 3>/mnt/${FILE}
written=0 errors=0 longest=0 last=$(date +%s)
while [ ! -e /mnt/${STOP} ]; do
  if printf '%-63s\\n' "line $((written + 1))" >&3; then written=$((written + 1)); else errors=$((errors + 1)); fi
  now=$(date +%s); pause=$((now - last)); last=$now
  if [ $pause -gt $longest ]; then longest=$pause; fi
done
exec 3>&-
found=$(awk 'BEGIN { n = 0 } $1 == "line" && $2 == n + 1 { n++ } END { print n }' /mnt/${FILE})
echo "RESULT written=$written found=$found errors=$errors longest=$longest"
rm /mnt/${FILE} /mnt/${STOP}
umount /mnt
`,
      { mode: 0o600 },
    );
    const child = spawn(join(ROOT, 'test/cluster/linux-client/linux-client.sh'), [commands], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TIMEOUT_SECONDS: '1800' },
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => this.#console.push(line));
    }
    await eventually('the Linux client has mounted the share', 120_000, () => {
      if (child.exitCode !== null) throw new Error(`it ended: ${this.#console.slice(-5).join('; ')}`);
      return this.#console.some((line) => line.includes('MOUNTED')) ? true : undefined;
    });
  }

  /** Tells it to stop, through the share itself, and gives what it found. @param volume the volume's folder on this machine */
  async stop(volume: string): Promise<LinuxResult> {
    const child = this.#child;
    if (!child) throw new Error('the Linux client was not started');
    writeFileSync(join(volume, STOP), '');
    await Promise.race([
      child.exitCode === null ? ended(child) : undefined,
      new Promise((_, reject) => setTimeout(() => reject(new Error('the Linux client did not stop')), 120_000).unref()),
    ]);
    const line = this.#console.find((one) => one.includes('RESULT')) ?? '';
    const number = (name: string) => Number(new RegExp(`${name}=(\\d+)`).exec(line)?.[1] ?? Number.NaN);
    if (line === '') throw new Error(`the Linux client gave no result: ${this.#console.slice(-8).join('; ')}`);
    return {
      written: number('written'),
      found: number('found'),
      errors: number('errors'),
      longestPauseS: number('longest'),
    };
  }

  remove(): void {
    this.#child?.kill('SIGTERM');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
