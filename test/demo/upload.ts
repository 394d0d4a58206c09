import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Kubernetes, ROOT } from '../cluster/kubernetes.ts';
import { run } from '../cluster/shell.ts';
import { CLUSTER, NAMESPACE, SHARE, USER } from './installation.ts';
import { PortForward } from './port-forward.ts';

const SIZE_MIB = 256;
const SMB_PORT = 445;

/** One upload of a real client, Samba's smbclient, through the cluster's Service, and the same bytes back. */
export class Upload {
  readonly #cluster: Kubernetes;
  readonly #password: string;

  constructor(cluster: Kubernetes, password: string) {
    this.#cluster = cluster;
    this.#password = password;
  }

  /** Whether there is an smbclient; on a machine that has the demo's own cluster it is installed. */
  async possible(): Promise<boolean> {
    if (this.#cluster.embedded) await run(join(ROOT, 'test/cluster/install-packages.sh'), ['clients']);
    return run('smbclient', ['--version']).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return false;
        throw error;
      },
    );
  }

  /** @returns seconds that the upload took. Throws when the bytes that come back differ. */
  async run(name: string): Promise<number> {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-upload-'));
    const { address, port, close } = await this.#way();
    try {
      const source = join(folder, 'source');
      const copy = join(folder, 'copy');
      const credentials = join(folder, 'credentials');
      writeFileSync(credentials, `username=${USER}\npassword=${this.#password}\n`, { mode: 0o600 });
      const file = openSync(source, 'w');
      for (let i = 0; i < SIZE_MIB; i++) writeSync(file, randomBytes(1 << 20));
      closeSync(file);
      const smbclient = (commands: string) =>
        run('smbclient', [`//${address}/${SHARE}`, '-p', String(port), '-A', credentials, '-c', commands], {
          timeoutMs: 300_000,
        });
      const began = performance.now();
      await smbclient(`put ${source} upload-${name}`);
      const seconds = (performance.now() - began) / 1000;
      await smbclient(`get upload-${name} ${copy}`);
      if (!readFileSync(source).equals(readFileSync(copy)))
        throw new Error(`the upload ${name} came back with other bytes`);
      return seconds;
    } finally {
      close();
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** How this machine reaches the Service: as it is where the cluster is on this machine, else by way of the API server. */
  async #way(): Promise<{ address: string; port: number; close: () => void }> {
    if (!this.#cluster.embedded) {
      const forward = await PortForward.open(this.#cluster, NAMESPACE, CLUSTER, SMB_PORT);
      return { address: '127.0.0.1', port: forward.port, close: () => forward.close() };
    }
    const service = await this.#cluster.get('service', NAMESPACE, CLUSTER);
    const address = (service?.spec as { clusterIP?: string } | undefined)?.clusterIP ?? '';
    return { address, port: SMB_PORT, close: () => {} };
  }
}
