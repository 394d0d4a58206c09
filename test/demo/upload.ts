import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Kubernetes, ROOT } from '../cluster/kubernetes.ts';
import { run } from '../cluster/shell.ts';
import { CLUSTER, NAMESPACE, SHARE, USER } from './installation.ts';

const SIZE_MIB = 256;

/** One upload of a real client, Samba's smbclient, through the cluster's Service, and the same bytes back. */
export class Upload {
  readonly #cluster: Kubernetes;
  readonly #password: string;

  constructor(cluster: Kubernetes, password: string) {
    this.#cluster = cluster;
    this.#password = password;
  }

  /** @returns seconds that the upload took. Throws when the bytes that come back differ. */
  async run(name: string): Promise<number> {
    await run(join(ROOT, 'test/cluster/install-packages.sh'), ['clients']);
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-upload-'));
    try {
      const source = join(folder, 'source');
      const copy = join(folder, 'copy');
      const credentials = join(folder, 'credentials');
      writeFileSync(credentials, `username=${USER}\npassword=${this.#password}\n`, { mode: 0o600 });
      const file = openSync(source, 'w');
      for (let i = 0; i < SIZE_MIB; i++) writeSync(file, randomBytes(1 << 20));
      closeSync(file);
      const service = await this.#cluster.get('service', NAMESPACE, CLUSTER);
      const address = (service?.spec as { clusterIP?: string } | undefined)?.clusterIP ?? '';
      const smbclient = (commands: string) =>
        run('smbclient', [`//${address}/${SHARE}`, '-A', credentials, '-c', commands], { timeoutMs: 300_000 });
      const began = performance.now();
      await smbclient(`put ${source} upload-${name}`);
      const seconds = (performance.now() - began) / 1000;
      await smbclient(`get upload-${name} ${copy}`);
      if (!readFileSync(source).equals(readFileSync(copy)))
        throw new Error(`the upload ${name} came back with other bytes`);
      return seconds;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}
