import { join } from 'node:path';
import { readTlsMaterial, sidecarChannel } from '../common/tls.ts';
import {
  ControlClient,
  type MigrateRequest,
  type MigrationProgress,
  type StatusReply,
} from '../proto/generated/control.ts';

const CONNECT_WITHIN_MS = 10_000;
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
      client.waitForReady(Date.now() + CONNECT_WITHIN_MS, (error) => {
        if (!error) return resolve();
        client.close();
        reject(error);
      });
    });
    return new SidecarControl(client);
  }

  /**
   * Moves the handles of this sidecar's servers. Resolves with the last word on it, whatever that is; rejects when the sidecar went.
   * @param onProgress told of each message before that
   */
  migrate(
    request: Partial<MigrateRequest> & { migrationId: string },
    onProgress: (progress: MigrationProgress) => void = () => undefined,
  ): Promise<MigrationProgress> {
    return new Promise((resolve, reject) => {
      let last: MigrationProgress | undefined;
      const stream = this.#client.migrate({
        targetPods: [],
        timeoutMs: MIGRATE_WITHIN_MS,
        leaving: false,
        ...request,
      });
      stream.on('data', (progress: MigrationProgress) => {
        last = progress;
        onProgress(progress);
      });
      stream.on('error', reject);
      stream.on('end', () =>
        last?.done ? resolve(last) : reject(new Error('the migration ended without a last word')),
      );
    });
  }

  status(): Promise<StatusReply> {
    return new Promise((resolve, reject) => {
      this.#client.getStatus({}, (error, reply) => (error ? reject(error) : resolve(reply)));
    });
  }

  close(): void {
    this.#client.close();
  }
}
