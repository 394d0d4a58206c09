import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import type { OpenRecord } from '../../proto/generated/handles.ts';
import { TestCluster } from './cluster.ts';
import { TestFileServer } from './file-server.ts';
import { SidecarProcess } from './sidecar-process.ts';

/**
 * What one open and its close cost in CPU time, of the sidecar and of Redis, 64 pairs in flight on one stream:
 *
 *     node sidecar/testing/open-cost.ts [PAIRS] [NODE_OPTION...]
 *
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

const cluster = await TestCluster.start(0, 5000);
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
  const before = [cpuUs(sidecar.pid), cpuUs(cluster.redis.pid)] as const;
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
    `${name}: sidecar ${perPair(sidecar.pid, before[0])} us, Redis ${perPair(cluster.redis.pid, before[1])} us a pair` +
      ` (${Math.round(count / seconds)} pairs/s here)`,
  );
}
const info = execFileSync('redis-cli', ['-p', String(cluster.redis.port), 'info', 'commandstats'], {
  encoding: 'utf8',
});
for (const line of info.matchAll(/cmdstat_(\w+):calls=(\d+),usec=\d+,usec_per_call=([\d.]+)/g)) {
  if (Number(line[2]) > Number(pairs)) console.log(`Redis: ${line[1]} ${line[2]} calls, ${line[3]} us each`);
}
await sidecar.stop();
server.detach();
await cluster.stop();
