import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, issueCertificate } from '../../common/certificates.ts';
import type { StoreConfig } from '../../common/config.ts';
import { readTlsMaterial, STORE_IDENTITY, storeConnection } from '../../common/tls.ts';
import type { OpenRecord } from '../../proto/generated/handles.ts';
import { TestCluster } from './cluster.ts';
import { TestFileServer } from './file-server.ts';
import { TestRedis } from './redis.ts';
import { SidecarProcess } from './sidecar-process.ts';

/**
 * What one open and its close cost in CPU time, of the sidecar and of Redis, 64 pairs in flight on one stream:
 *
 *     [STORE_TLS=1] node sidecar/testing/open-cost.ts [PAIRS] [NODE_OPTION...]
 *
 * STORE_TLS: what sidecar and Redis say to each other is encrypted, with certificates on both sides.
 * CPU time, not rates: it hardly depends on what else the machine does.
 */
const [pairs = '10000', ...nodeOptions] = process.argv.slice(2);
const IN_FLIGHT = 64;
const TICK_US = 10_000; // of /proc/PID/stat, USER_HZ 100

function cpuUs(pid: number): number {
  let ticks = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const fields = readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * TICK_US;
}

/** A Redis that speaks TLS, and how sidecars are told of it. */
async function tlsStore(): Promise<{ redis: TestRedis; config: StoreConfig; folder: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-open-cost-'));
  const authority = await createAuthority('store', 1);
  const { certificate, key } = await issueCertificate(authority, [STORE_IDENTITY], 1);
  const tls = { caFile: join(folder, 'ca.crt'), certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') };
  writeFileSync(tls.caFile, authority.certificate);
  writeFileSync(tls.certFile, certificate);
  writeFileSync(tls.keyFile, key);
  const files = ['--tls-ca-cert-file', tls.caFile, '--tls-cert-file', tls.certFile, '--tls-key-file', tls.keyFile];
  const admin = { tls: storeConnection(readTlsMaterial(folder)) };
  const redis = await TestRedis.start({ settings: [...files, '--tls-protocols', 'TLSv1.3'], tls: true, admin });
  const store = { mode: 'Standalone' as const, addresses: [redis.address], durability: { mode: 'Always' as const } };
  return { redis, config: { ...store, tls: { ...tls, serverName: STORE_IDENTITY } }, folder };
}

const encrypted = process.env.STORE_TLS ? await tlsStore() : undefined;
const cluster = await TestCluster.start(0, 5000, encrypted);
const redis = encrypted?.redis ?? cluster.redis;
const sidecar = await SidecarProcess.start(cluster, 'pod', nodeOptions);
const server = new TestFileServer(sidecar.runDir);
await server.start();
await server.session(1n);

const persistent: Partial<OpenRecord> = {};
const plain: Partial<OpenRecord> = { durability: 0, createGuid: Buffer.alloc(0) };
for (const [name, fields] of [
  ['warm-up', plain],
  ['warm-up', persistent],
  ['not persistent', plain],
  ['persistent', persistent],
] as const) {
  const count = name === 'warm-up' ? 3000 : Number(pairs);
  const before = [cpuUs(sidecar.pid), cpuUs(redis.pid)] as const;
  const beganMs = performance.now();
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < count; i = next++) {
      const { record, outcome } = await server.open(`folder/file-${i % 5000}`, fields);
      if (outcome !== 1) throw new Error(`an open was answered ${outcome}`);
      await server.close(record);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  const seconds = (performance.now() - beganMs) / 1000;
  const perPair = (pid: number, earlier: number) => Math.round((cpuUs(pid) - earlier) / count);
  if (name === 'warm-up') continue;
  console.log(
    `${name}: sidecar ${perPair(sidecar.pid, before[0])} us, Redis ${perPair(redis.pid, before[1])} us a pair` +
      ` (${Math.round(count / seconds)} pairs/s here)`,
  );
}
const info = await redis.admin.info('commandstats');
for (const line of info.matchAll(/cmdstat_(\w+):calls=(\d+),usec=\d+,usec_per_call=([\d.]+)/g)) {
  if (Number(line[2]) > Number(pairs)) console.log(`Redis: ${line[1]} ${line[2]} calls, ${line[3]} us each`);
}
await sidecar.stop();
server.detach();
await cluster.stop();
await encrypted?.redis.stop();
if (encrypted) rmSync(encrypted.folder, { recursive: true });
