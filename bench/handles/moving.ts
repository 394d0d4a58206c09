import { readFileSync, writeFileSync } from 'node:fs';
import { type OpenRecord, Outcome } from '../../proto/generated/handles.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import type { TestFileServer } from '../../sidecar/testing/file-server.ts';
import { cpuTimeUs } from '../cpu-time.ts';
import { asClientsAsk } from './requests.ts';
import { StreamLoad } from './stream-load.ts';

const OPENS_A_SESSION = 1000;
const AT_ONCE = 256;
const LEASE_MS = 5000;
const DRAIN_TIMEOUT_MS = 300_000;
const RECLAIM_WITHIN_MS = 60_000;

export interface Moved {
  handles: number;
  seconds: number;
  /** What the sidecar that gave them away needed more at its highest than before, MiB. */
  moreMemoryMib: number;
  /** CPU time by process, microseconds a handle. */
  cpuUsPerHandle: Record<string, number>;
}

export interface Fenced {
  /** Handles that the server had when its process died. */
  handles: number;
  /** From its death until another server had one of them back. */
  ms: number;
}

/** One server of three gives all its handles to the others; then one that has just got its half dies. */
export async function moveAndFence(handles: number): Promise<{ moved: Moved; fenced: Fenced[] }> {
  const cluster = await TestCluster.start(0, LEASE_MS);
  const pods: StreamLoad[] = [];
  try {
    for (const name of ['one', 'two', 'three']) pods.push(await StreamLoad.start(cluster, name));
    const [one, two, three] = pods as [StreamLoad, StreamLoad, StreamLoad];
    const fenced: Fenced[] = [];
    const records = await openMany(one.server, handles);
    resetPeak(one.sidecar.pid);
    const beforeKib = memoryKib(one.sidecar.pid, 'VmRSS');
    const parts: Record<string, number[]> = {
      'file servers': [process.pid],
      source: [one.sidecar.pid],
      targets: [two.sidecar.pid, three.sidecar.pid],
      redis: [cluster.redis.pid],
    };
    const cpuUs = () => Object.values(parts).map((pids) => pids.reduce((sum, pid) => sum + cpuTimeUs(pid), 0));
    const cpuBefore = cpuUs();
    const beganMs = performance.now();
    const drained = await one.server.drain(DRAIN_TIMEOUT_MS);
    const seconds = (performance.now() - beganMs) / 1000;
    if (Number(drained.moved) !== handles)
      throw new Error(`${drained.moved} of ${handles} handles moved: ${drained.message}`);
    const cpuAfter = cpuUs();
    const cpuUsPerHandle = Object.fromEntries(
      Object.keys(parts).map((part, i) => [part, ((cpuAfter[i] ?? 0) - (cpuBefore[i] ?? 0)) / handles]),
    );
    const moreMemoryMib = (memoryKib(one.sidecar.pid, 'VmHWM') - beforeKib) / 1024;
    const back = await reclaimed(two.server, records);
    const few = two.server.records.size;
    two.server.kill();
    fenced.push({ handles: few, ms: await untilReclaimed(three.server, back) });
    return { moved: { handles, seconds, moreMemoryMib, cpuUsPerHandle }, fenced };
  } finally {
    for (const pod of pods) await pod.stop();
    await cluster.stop();
  }
}

async function openMany(server: TestFileServer, count: number): Promise<OpenRecord[]> {
  for (let session = 0; session * OPENS_A_SESSION < count; session++) await server.session(BigInt(session + 100));
  const records: OpenRecord[] = [];
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < count; i = next++) {
      const sessionId = BigInt(Math.floor(i / OPENS_A_SESSION) + 100);
      const asked = asClientsAsk(`moved/document-${i}.docx`, { withLease: true });
      const { record, outcome } = await server.open(asked.path, { ...asked, sessionId });
      if (outcome !== Outcome.GRANTED) throw new Error(`an open was answered ${outcome}`);
      records.push(record);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return records;
}

/** Clients come back for the handles that this server was given. @returns one of those that it has now */
async function reclaimed(server: TestFileServer, records: readonly OpenRecord[]): Promise<OpenRecord> {
  let last: OpenRecord | undefined;
  let next = 0;
  const worker = async () => {
    for (let record = records[next++]; record; record = records[next++]) {
      const { outcome } = await server.reclaim(record, reclaimOf(record));
      if (outcome === Outcome.GRANTED) last = record;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (!last) throw new Error('no handle could be reclaimed');
  return last;
}

async function untilReclaimed(server: TestFileServer, record: OpenRecord): Promise<number> {
  const beganMs = performance.now();
  while (performance.now() - beganMs < RECLAIM_WITHIN_MS) {
    const { outcome } = await server.reclaim(record, reclaimOf(record));
    if (outcome === Outcome.GRANTED) return performance.now() - beganMs;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error('a handle of a dead server was not given back');
}

const reclaimOf = ({ lease }: OpenRecord) => ({ leaseKey: lease?.key ?? Buffer.alloc(0) });

function memoryKib(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** The highest resident size counts from now on (proc(5), clear_refs). */
function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}
