// `holdfast check`: what a cluster is for, tried once: a file stays open while its server gives it away.
import { randomBytes } from 'node:crypto';
import type { V1Pod } from '@kubernetes/client-node';
import { delay, monotonicMs } from '../../../common/time.ts';
import type { Client } from '../../file/client.ts';
import type { File } from '../../file/file.ts';
import type { ClusterApi } from './api.ts';
import { isUnderWay } from './migrations.ts';

const BLOCK_BYTES = 4096;
const POLL_MS = 200;
/** Blocks that are written after the move. */
const BLOCKS_AFTER = 16;

export interface CheckOptions {
  client: Client;
  api: ClusterApi;
  namespace: string;
  cluster: string;
  /** The folder of the share where the file is made; "" for the share itself. */
  folder: string;
  /** How long the move may take, ms. */
  withinMs: number;
  say: (line: string) => void;
}

/** The check has shown that something does not work; the message says what. */
export class CheckFailed extends Error {
  readonly code = 'CHECK_FAILED';
}

/** Opens, writes, has the handle moved while it writes on, reads all back, closes and removes. @throws CheckFailed */
export async function check(options: CheckOptions): Promise<void> {
  const { client, folder, say } = options;
  const name = `holdfast-check-${randomBytes(6).toString('hex')}`;
  const path = folder === '' ? name : `${folder}/${name}`;
  const file = await client.open(path, { access: 'readwrite', disposition: 'create' });
  say(`opened ${path} at ${client.address}${client.continuouslyAvailable ? ', continuously available' : ''}`);
  try {
    await useWhileItMoves(file, options);
  } catch (error) {
    // Why it failed is what matters, not whether the rest can be cleared away.
    await file.close().catch(() => undefined);
    await client.remove(path).catch(() => undefined);
    throw error;
  }
  await file.close();
  await client.remove(path);
  say('closed and removed it');
}

async function useWhileItMoves(file: File, options: CheckOptions): Promise<void> {
  const { client, say } = options;
  let lost: Error | undefined;
  client.once('handleLost', ({ error }) => {
    lost = error;
  });
  const blocks = new Blocks(file);
  await blocks.write();
  await moveWhileWriting(options, blocks);
  for (let i = 0; i < BLOCKS_AFTER; i++) await blocks.write();
  if (lost) throw new CheckFailed(`the handle was lost: ${lost.message}`);
  await blocks.verify();
  say(`wrote and read back ${blocks.count} blocks; the longest pause was ${Math.round(blocks.longestMs)} ms`);
}

async function moveWhileWriting(options: CheckOptions, blocks: Blocks): Promise<void> {
  const { api, client, namespace, cluster, withinMs, say } = options;
  const source = podAt(await api.serverPods(namespace, cluster), client.address ?? '');
  if (source === undefined) {
    throw new CheckFailed(
      `no pod of the cluster "${cluster}" has the address ${client.address}: connect to its headless Service, ${cluster}-servers.${namespace}.svc`,
    );
  }
  const { metadata } = await api.createMigration(namespace, { cluster, source, reason: 'Manual' });
  const migration = metadata.name ?? '';
  say(`moving the handles of ${source} (HandleMigration ${migration})`);
  const untilMs = monotonicMs() + withinMs;
  for (;;) {
    await blocks.write();
    const now = await api.migration(namespace, migration);
    if (!isUnderWay(now)) {
      const { phase, message = '', duration } = now.status ?? {};
      if (phase !== 'Succeeded') throw new CheckFailed(`the move ended as ${phase}: ${message}`);
      say(`${message}${duration === undefined ? '' : ` in ${duration}`}; the file is open at ${client.address} now`);
      break;
    }
    if (monotonicMs() > untilMs) {
      throw new CheckFailed(
        `the move has not ended within ${withinMs / 1000} s: ${now.status?.message ?? 'the operator has not looked at it; does it run?'}`,
      );
    }
    await delay(POLL_MS);
  }
}

/** The pod that serves SMB at an address, HOST:PORT. */
function podAt(pods: readonly V1Pod[], address: string): string | undefined {
  const [, host = '', port] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? [];
  const found = pods.find(
    ({ status, spec }) =>
      status?.podIPs?.some(({ ip }) => ip === host) &&
      spec?.containers.some(({ ports }) => ports?.some(({ containerPort }) => containerPort === Number(port))),
  );
  return found?.metadata?.name;
}

/** Blocks of known content, one after the other. */
class Blocks {
  readonly #file: File;
  count = 0;
  longestMs = 0;

  constructor(file: File) {
    this.#file = file;
  }

  async write(): Promise<void> {
    const beganMs = monotonicMs();
    await this.#file.write(this.count * BLOCK_BYTES, block(this.count));
    this.count++;
    this.longestMs = Math.max(this.longestMs, monotonicMs() - beganMs);
  }

  async verify(): Promise<void> {
    for (let i = 0; i < this.count; i++) {
      const read = await this.#file.read(i * BLOCK_BYTES, BLOCK_BYTES);
      if (!read.equals(block(i)))
        throw new CheckFailed(`block ${i} is not what was written, though it was acknowledged`);
    }
  }
}

function block(index: number): Buffer {
  return Buffer.alloc(BLOCK_BYTES, `block ${index} `);
}
