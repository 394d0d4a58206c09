import { type OpenRecord, Outcome } from '../../proto/generated/handles.ts';
import type { TestCluster } from '../../sidecar/testing/cluster.ts';
import { TestFileServer } from '../../sidecar/testing/file-server.ts';
import { SidecarProcess } from '../../sidecar/testing/sidecar-process.ts';
import { cpuTimeUs } from '../cpu-time.ts';

const FILES = 5000;

export interface StreamRound {
  rate: number;
  /** By process; "asking" is the test's file server, with all else that this process does. */
  cpuUsPerPair: Record<string, number>;
}

/** A sidecar, and a file server that only asks: what the table costs without SMB. */
export class StreamLoad {
  readonly sidecar: SidecarProcess;
  readonly server: TestFileServer;
  readonly #redisPid: number;

  private constructor(sidecar: SidecarProcess, server: TestFileServer, redisPid: number) {
    this.sidecar = sidecar;
    this.server = server;
    this.#redisPid = redisPid;
  }

  static async start(cluster: TestCluster, name = 'pod'): Promise<StreamLoad> {
    const sidecar = await SidecarProcess.start(cluster, name);
    const server = new TestFileServer(sidecar.runDir);
    await server.start();
    await server.session(1n);
    return new StreamLoad(sidecar, server, cluster.redis.pid);
  }

  /** Opens and closes files that nobody else has open. */
  async run(inFlight: number, seconds: number, fields: Partial<OpenRecord>): Promise<StreamRound> {
    const parts = { asking: process.pid, sidecar: this.sidecar.pid, redis: this.#redisPid };
    const cpuUs = () => Object.values(parts).map(cpuTimeUs);
    const before = cpuUs();
    const beganMs = performance.now();
    const endMs = beganMs + seconds * 1000;
    let pairs = 0;
    const worker = async (first: number) => {
      for (let i = first; performance.now() < endMs; i += inFlight) {
        const { record, outcome } = await this.server.open(`folder/file-${i % FILES}`, fields);
        if (outcome !== Outcome.GRANTED) throw new Error(`an open was answered ${outcome}`);
        await this.server.close(record);
        pairs++;
      }
    };
    await Promise.all(Array.from({ length: inFlight }, (_, i) => worker(i)));
    const rate = pairs / ((performance.now() - beganMs) / 1000);
    const after = cpuUs();
    const cpuUsPerPair = Object.fromEntries(
      Object.keys(parts).map((part, i) => [part, ((after[i] ?? 0) - (before[i] ?? 0)) / pairs]),
    );
    return { rate, cpuUsPerPair };
  }

  async stop(): Promise<void> {
    await this.sidecar.stop();
    this.server.detach();
  }
}
