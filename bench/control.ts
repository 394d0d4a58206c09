import { join } from 'node:path';
import { readTlsMaterial, sidecarChannel } from '../common/tls.ts';
import { ControlClient, type MigrationProgress } from '../proto/generated/control.ts';

const CONNECT_WITHIN_MS = 5000;
const MIGRATE_WITHIN_MS = 20_000;

/** The operator's door to one sidecar of `holdfast serve`. */
export class SidecarControl {
  readonly #client: ControlClient;

  private constructor(client: ControlClient) {
    this.#client = client;
  }

  /** @param address host:port of the sidecar; @param stateDirectory what serve was given as --state-dir */
  static async connect(address: string, stateDirectory: string): Promise<SidecarControl> {
    const { credentials, options } = sidecarChannel(readTlsMaterial(join(stateDirectory, 'tls')));
    const client = new ControlClient(address, credentials, options);
    await new Promise<void>((resolve, reject) => {
      client.waitForReady(Date.now() + CONNECT_WITHIN_MS, (error) => (error ? reject(error) : resolve()));
    });
    return new SidecarControl(client);
  }

  /** Moves all handles of the server to others, and gives the last word on it. Throws when it failed. */
  migrate(migrationId: string): Promise<MigrationProgress> {
    return new Promise((resolve, reject) => {
      let last: MigrationProgress | undefined;
      const stream = this.#client.migrate({
        migrationId,
        targetPods: [],
        timeoutMs: MIGRATE_WITHIN_MS,
        leaving: false,
      });
      stream.on('data', (progress: MigrationProgress) => {
        last = progress;
      });
      stream.on('error', reject);
      stream.on('end', () => {
        if (last?.done && last.phase === 'Done') resolve(last);
        else reject(new Error(`the migration ended in ${last?.phase ?? 'nothing'}: ${last?.message ?? ''}`));
      });
    });
  }

  close(): void {
    this.#client.close();
  }
}
