import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Outcome } from '../../proto/generated/handles.ts';
import { FileServer } from '../file-server.ts';
import { RawClient } from './raw-client.ts';
import { ScriptedSidecar } from './scripted-sidecar.ts';

/** Who may log on to a TestServer, and the password. */
export const ALICE = ['alice', 'secret'] as const;
export const BOB = ['bob', 'other secret'] as const;

/** A file server with a scripted sidecar, a share "data", and its clients. */
export class TestServer {
  readonly folder: string;
  readonly port: number;
  readonly server: FileServer;
  readonly sidecar: ScriptedSidecar;
  readonly #clients: RawClient[] = [];

  constructor(folder: string, port: number, server: FileServer, sidecar: ScriptedSidecar) {
    this.folder = folder;
    this.port = port;
    this.server = server;
    this.sidecar = sidecar;
  }

  /** @param config fields of config.json beside those that a server cannot be without */
  static async start(config: Record<string, unknown> = {}): Promise<TestServer> {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-server-'));
    mkdirSync(join(folder, 'users'));
    mkdirSync(join(folder, 'volume'));
    for (const [name, password] of [ALICE, BOB]) writeFileSync(join(folder, 'users', name), `${password}\n`);
    const access = [{ principal: '*', permission: 'Full' }];
    writeFileSync(
      join(folder, 'config.json'),
      JSON.stringify({
        clusterId: 'c',
        clusterName: 'c',
        volumes: [{ name: 'v', path: join(folder, 'volume') }],
        shares: [{ name: 'data', volume: 'v', path: '/', access }],
        store: { addresses: ['127.0.0.1:1'] },
        ...config,
      }),
    );
    const sidecar = new ScriptedSidecar();
    sidecar.decide = ({ body }) => ({
      outcome: body?.$case === 'claimSession' ? Outcome.NOT_FOUND : Outcome.GRANTED,
    });
    await sidecar.start(join(folder, 'sidecar.sock'));
    const server = new FileServer(
      {
        config: join(folder, 'config.json'),
        runDir: folder,
        usersDir: join(folder, 'users'),
        listen: '127.0.0.1:0',
        advertise: '127.0.0.1:445',
        metrics: '127.0.0.1:0',
        worker: '0',
        serverName: 'TEST',
      },
      pino({ level: 'silent' }),
    );
    return new TestServer(folder, await server.start(), server, sidecar);
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.end();
    await this.server.stop();
    this.sidecar.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** A client that is connected. */
  async connected(): Promise<RawClient> {
    return this.keep(await RawClient.connect(this.port));
  }

  /** A client that ends with the server. */
  keep(client: RawClient): RawClient {
    this.#clients.push(client);
    return client;
  }

  async negotiated(): Promise<RawClient> {
    const client = await this.connected();
    await client.negotiate();
    return client;
  }

  async loggedOn(user: string, password: string): Promise<RawClient> {
    const client = await this.negotiated();
    const status = await client.logOn(user, password);
    if (status !== 0) throw new Error(`logon was answered 0x${status.toString(16)}`);
    return client;
  }
}
