// The main job, end to end: writers go on while their servers are drained, upgraded, killed and cut off.
import { randomBytes } from 'node:crypto';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { WriterReport } from '../../client/cli/report.ts';
import { Client } from '../../client/index.ts';
import { Kubernetes, ROOT } from '../cluster/kubernetes.ts';
import { eventually, run } from '../cluster/shell.ts';
import {
  applySample,
  CLUSTER,
  installDemo,
  type Migration,
  migrations,
  NAMESPACE,
  releaseFor,
  removalCommands,
  removeDemo,
  SAMPLE,
  type ServerStatus,
  SHARE,
  servers,
  takeCareOf,
  USER,
  waitAvailable,
} from './installation.ts';
import { LinuxClient, type LinuxResult } from './linux-client.ts';
import { renderPicture } from './picture.ts';
import { type StepResult, summarise, tableOf } from './results.ts';
import { Upload } from './upload.ts';
import { Writers } from './writers.ts';

/** What the sample asks for. */
const REPLICAS = 3;
const WRITER_PROCESSES = 6;
const HANDLES_EACH = 4;
/** How long writers run undisturbed before and after each step. */
const STEADY_MS = Number(process.env.DEMO_STEADY_SECONDS ?? 4) * 1000;
const MIGRATIONS_END_MS = 60_000;
/** After so many connections a server answers the next one as fast as one that has served for a while. */
const GREETINGS = 3;
/** How long after a step all handles may take to write again before that is told. */
const WRITE_ON_MS = 60_000;
const OUT = join(ROOT, 'out');

interface Event {
  name: string;
  fromUnixMs: number;
  toUnixMs: number;
  moved: number;
  expired: number;
}

const startedAt = performance.now();

function say(line: string): void {
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  process.stdout.write(`[${String(seconds).padStart(4)} s] ${line}\n`);
}

const delay = (ms: number) => new Promise((wake) => setTimeout(wake, ms));

class Demo {
  readonly #cluster: Kubernetes;
  readonly #password = randomBytes(12).toString('base64url');
  readonly #events: Event[] = [];
  /** What writers said, by step: said once more at the end, if they saw errors. */
  readonly #complaints: string[] = [];
  readonly #writers: Writers;
  readonly #upload: Upload;
  readonly #linux: LinuxClient | undefined;

  constructor(cluster: Kubernetes, image: string, quietNode: string) {
    this.#cluster = cluster;
    this.#writers = new Writers(cluster, {
      processes: WRITER_PROCESSES,
      handlesEach: HANDLES_EACH,
      password: this.#password,
      node: quietNode,
      image,
    });
    this.#upload = new Upload(cluster, this.#password);
    this.#linux = cluster.embedded && process.env.LINUX_CLIENT ? new LinuxClient(cluster) : undefined;
  }

  /** A second run begins like the first. */
  async clear(): Promise<void> {
    if (await removeDemo(this.#cluster)) say('took away what the last run left');
  }

  async install(image: string | undefined): Promise<void> {
    const { name, namespace } = releaseFor(this.#cluster);
    say(`installing the operator: helm install ${name} charts/holdfast -n ${namespace}`);
    await installDemo(this.#cluster, image);
    say(`kubectl apply -f ${SAMPLE}: ${REPLICAS} servers with one continuously available share`);
    await applySample(this.#cluster, this.#password);
    await waitAvailable(this.#cluster, REPLICAS, 180_000);
    await this.show();
  }

  async show(): Promise<void> {
    process.stdout.write(await this.#cluster.kubectl(['get', 'fsc,hm', '-n', NAMESPACE]));
  }

  async upload(when: string): Promise<void> {
    if (!(await this.#upload.possible())) {
      say(`the upload with smbclient ${when} is left out: there is no smbclient on this machine`);
      return;
    }
    const seconds = await this.#upload.run(when);
    say(`smbclient uploaded 256 MiB ${when} and got the same bytes back, ${seconds.toFixed(1)} s`);
  }

  /**
   * Connects to each server. One that nobody has connected to yet is slow to answer, and clients take whichever answers first: all
   * writers would be at the server of the upload. Pods of a cluster that is not the demo's own are not reached from here.
   */
  async greetServers(): Promise<void> {
    if (!this.#cluster.embedded) return;
    const selector = `holdfast.dev/cluster=${CLUSTER},app.kubernetes.io/component=fileserver`;
    for (const { status } of await this.#cluster.list('pods', NAMESPACE, selector)) {
      const addresses = [`${(status as { podIP?: string }).podIP}:445`];
      for (let i = 0; i < GREETINGS; i++) {
        const client = await Client.connect({ addresses, user: USER, password: this.#password, share: SHARE });
        await client.close();
      }
    }
  }

  async startWriters(): Promise<void> {
    if (this.#linux) {
      await this.#linux.start(this.#password);
      say('the Linux kernel client has mounted the share and writes too');
    }
    this.#writers.start();
    say(`${this.#writers.handles} handles of ${WRITER_PROCESSES} clients begin to write`);
    await eventually('all writers write', 60_000, async () => {
      this.#writers.check();
      const spread = (await servers(this.#cluster)).filter((server) => (server.handles ?? 0) > 0);
      const open = spread.reduce((sum, server) => sum + (server.handles ?? 0), 0);
      if (open < this.#writers.handles || spread.length < 2) {
        throw new Error(`${open} handles are open, on ${spread.length} pods`);
      }
      return true;
    });
    for (const server of await servers(this.#cluster))
      say(`  ${server.pod} on ${server.node}: ${server.handles} handles`);
    await delay(STEADY_MS);
  }

  /** Does something to the servers while the writers go on, and waits until all of them have gone on. */
  async step(name: string, act: () => Promise<string>): Promise<void> {
    const before = new Set((await migrations(this.#cluster)).map((migration) => migration.name));
    const ackedBefore = this.#writers.ackedBlocks;
    this.#writers.watch.begin();
    const fromUnixMs = Date.now();
    say(`${name}: begins`);
    const what = await act();
    await waitAvailable(this.#cluster, REPLICAS, 180_000);
    await this.#allWriteOn();
    await delay(STEADY_MS);
    this.#writers.check();
    const done = await this.#ended(before);
    const moved = done.reduce((sum, migration) => sum + migration.moved, 0);
    const expired = done.reduce((sum, migration) => sum + migration.expired, 0);
    this.#events.push({ name, fromUnixMs, toUnixMs: Date.now(), moved, expired });
    say(
      `${name}: done. ${what}; ${moved} handles moved, ${this.#writers.ackedBlocks - ackedBefore} blocks acknowledged meanwhile`,
    );
    const { pauseMs, reclaimed, callerErrors } = this.#writers.watch.seen;
    say(
      `${name}: the writers paused for ${pauseMs.p50} ms (median) and ${pauseMs.max} ms (longest), reclaimed ${reclaimed} handles, and saw ${callerErrors} errors`,
    );
    for (const migration of done) {
      if (migration.phase !== 'Succeeded' || migration.moved < migration.total)
        say(`  ${migration.name}: ${migration.phase}: ${migration.message}`);
    }
    for (const message of this.#writers.messages.splice(0)) {
      say(`  ${message}`);
      this.#complaints.push(`${name}: ${message}`);
    }
    await this.show();
  }

  /** Every handle has had a write acknowledged since all servers are there. */
  async #allWriteOn(): Promise<void> {
    const before = this.#writers.watch.blocks();
    const wait = eventually('every handle writes on', WRITE_ON_MS, () => {
      this.#writers.check();
      const silent = this.#writers.watch.blocks().filter((blocks, i) => blocks <= (before[i] ?? 0));
      if (silent.length > 0) throw new Error(`${silent.length} handles are silent`);
      return true;
    });
    await wait.catch((error: Error) => say(`  ${error.message}`));
  }

  /** The migrations of a step: the pods may have gone before the operator, itself moved perhaps, has written down how it went. */
  async #ended(before: ReadonlySet<string>): Promise<Migration[]> {
    let own: Migration[] = [];
    const wait = eventually('the migrations have ended', MIGRATIONS_END_MS, async () => {
      own = (await migrations(this.#cluster)).filter((migration) => !before.has(migration.name));
      const open = own.filter(({ phase }) => phase !== 'Succeeded' && phase !== 'Failed');
      if (open.length > 0) throw new Error(open.map(({ name, message }) => `${name}: ${message}`).join('; '));
      return true;
    });
    await wait.catch((error: Error) => say(`  ${error.message}`));
    return own;
  }

  /** The pod that holds most handles, and where it runs, once the status shows where all of them are. */
  async busiest(): Promise<ServerStatus> {
    return eventually('the status shows where all handles are', 60_000, async () => {
      const active = (await servers(this.#cluster)).filter((server) => server.phase === 'Active');
      const shown = active.reduce((sum, server) => sum + (server.handles ?? 0), 0);
      if (shown < this.#writers.handles) throw new Error(`${shown} handles are shown`);
      const candidates = active.filter((server) => server.node !== this.#writers.quietNode);
      return candidates.sort((a, b) => (b.handles ?? 0) - (a.handles ?? 0))[0];
    });
  }

  async drain(): Promise<string> {
    const { pod, node, handles } = await this.busiest();
    say(
      `  kubectl drain ${node}, the node of ${pod} with ${handles} handles${this.#cluster.embedded ? '' : "; of its pods only the demo's own are evicted"}`,
    );
    const began = performance.now();
    // Nobody else's pods are evicted from a node that is not the demo's own.
    const whom = this.#cluster.embedded ? ['--force'] : [`--pod-selector=holdfast.dev/cluster=${CLUSTER}`];
    const args = ['drain', node, '--ignore-daemonsets', '--delete-emptydir-data', '--timeout=120s', ...whom];
    try {
      await this.#cluster.kubectl(args);
    } finally {
      await this.#cluster.kubectl(['uncordon', node]);
    }
    return `kubectl drain and uncordon took ${((performance.now() - began) / 1000).toFixed(1)} s`;
  }

  async rollingUpgrade(): Promise<string> {
    const old = new Set((await servers(this.#cluster)).map((server) => server.pod));
    const patch = {
      spec: { template: { annotations: { 'demo.holdfast.dev/upgraded-at': new Date().toISOString() } } },
    };
    await this.#cluster.kubectl([
      ...['patch', 'fileservercluster', CLUSTER, '-n', NAMESPACE, '--type=merge'],
      ...['-p', JSON.stringify(patch)],
    ]);
    await eventually(
      'every pod is replaced',
      300_000,
      async () => {
        const now = await servers(this.#cluster);
        const left = now.filter((server) => old.has(server.pod));
        if (left.length > 0) throw new Error(`${left.length} old pods are left`);
        return true;
      },
      500,
    );
    return 'every pod was replaced by one of the new template';
  }

  async kill(): Promise<string> {
    const { pod, node, handles } = await this.busiest();
    say(`  kill -9 of the file server in ${pod} on ${node} with ${handles} handles`);
    const pid = Number(await run(join(ROOT, 'test/cluster/node.sh'), ['pid', pod, 'fileserver', NAMESPACE]));
    process.kill(pid, 'SIGKILL');
    return `process ${pid} was killed`;
  }

  async cutOff(): Promise<string> {
    const redis = (await this.#cluster.list('pods', NAMESPACE)).filter((pod) => pod.metadata.name.includes('redis'));
    const redisNodes = new Set(redis.map((pod) => (pod.spec as { nodeName?: string } | undefined)?.nodeName));
    const candidates = (await servers(this.#cluster)).filter((server) => !redisNodes.has(server.node));
    const victim = candidates.sort((a, b) => (b.handles ?? 0) - (a.handles ?? 0))[0];
    if (!victim) throw new Error('every file server runs beside Redis: no node can be cut off');
    say(`  ${victim.node} is cut off the network for good; ${victim.pod} there has ${victim.handles} handles`);
    await this.#cluster.node('cut', victim.node);
    await eventually(
      'the pods of the lost node are replaced',
      180_000,
      async () => {
        const now = (await servers(this.#cluster)).filter((server) => server.phase === 'Active');
        return now.length >= REPLICAS && now.every((server) => server.node !== victim.node) ? true : undefined;
      },
      500,
    );
    return `${victim.node} is gone`;
  }

  /** Stops the writers, compares every acknowledged block with the volume, writes the results. */
  async finish(): Promise<boolean> {
    say('writers finish; every acknowledged block is read back');
    const { reports, files } = await this.#writers.stop();
    for (const report of reports) writeFileSync(join(OUT, `demo-${report.writer}.json`), JSON.stringify(report));
    const folder = this.#cluster.embedded ? await this.#volumeFolder() : undefined;
    let verified = 0;
    let slots = 0;
    let lost = 0;
    for (const [i, report] of reports.entries()) {
      const outcome = await this.#writers.verify(report, files[i] ?? '', folder);
      verified += outcome.verified;
      slots += outcome.ackedSlots;
      lost += outcome.lost + outcome.torn;
      for (const problem of outcome.problems) say(`  ${problem}`);
    }
    const linux = this.#linux && folder ? await this.#linux.stop(folder) : undefined;
    if (linux)
      say(
        `the Linux kernel client wrote ${linux.written} lines and found ${linux.found}, ${linux.errors} errors, longest pause ${linux.longestPauseS} s`,
      );
    const steps = this.#events.map(
      (event): StepResult => ({
        ...summarise(event.name, reports, event.fromUnixMs, event.toUnixMs),
        moved: event.moved,
        expired: event.expired,
      }),
    );
    const ackedBlocks = reports.reduce((sum, report) => sum + report.ackedBlocks, 0);
    const callerErrors = reports.reduce((sum, report) => sum + report.callerErrors, 0);
    // A block that a later acknowledged one took the place of cannot be read back; acked = verified + overwritten + lost.
    const overwritten = ackedBlocks - slots;
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    const result = {
      steps,
      ackedBlocks,
      verifiedBlocks: verified,
      overwrittenBlocks: overwritten,
      lostBlocks: lost,
      seconds,
      ...(linux ? { linuxClient: linux } : {}),
    };
    writeFileSync(join(OUT, 'demo.json'), `${JSON.stringify(result, null, 2)}\n`);
    this.#draw(reports, steps);
    for (const row of tableOf(steps))
      process.stdout.write(`${row.map((cell, i) => (i === 0 ? cell.padEnd(28) : cell.padStart(12))).join('')}\n`);
    say(
      `${ackedBlocks} blocks acknowledged, ${verified} read back, ${overwritten} overwritten by later ones, ${lost} lost or torn, ${callerErrors} errors seen by callers`,
    );
    if (callerErrors > 0) for (const complaint of this.#complaints.slice(0, 20)) say(`  ${complaint}`);
    say('out/demo.json, out/demo.html');
    return lost === 0 && callerErrors === 0 && verified > 0 && isWhole(linux);
  }

  async #volumeFolder(): Promise<string> {
    const claim = await this.#cluster.get('persistentvolumeclaim', NAMESPACE, 'media');
    const volume = (claim?.spec as { volumeName?: string } | undefined)?.volumeName ?? '';
    const object = JSON.parse(await this.#cluster.kubectl(['get', 'pv', volume, '-o', 'json'])) as {
      spec: { hostPath: { path: string } };
    };
    // The nodes see the folder of all volumes elsewhere than this machine does.
    const path = join(this.#cluster.stateDirectory, 'shared', basename(object.spec.hostPath.path));
    statSync(path);
    return path;
  }

  #draw(reports: WriterReport[], steps: StepResult[]): void {
    const bucketMs = reports[0]?.bucketMs ?? 100;
    const start = Math.min(...reports.map((report) => Date.parse(report.startedAt)));
    const series = reports.flatMap((report) => {
      const late = Math.round((Date.parse(report.startedAt) - start) / bucketMs);
      return report.handles.map((handle) => ({
        name: handle.path,
        acknowledged: [...Array<number>(late).fill(0), ...handle.acknowledged],
      }));
    });
    const events = this.#events.map((event, i) => ({
      name: event.name,
      fromMs: event.fromUnixMs - start,
      toMs: event.toUnixMs - start,
      summary: `longest pause ${steps[i]?.pauseMs.max ?? 0} ms`,
    }));
    writeFileSync(
      join(OUT, 'demo.html'),
      renderPicture({ title: 'Holdfast: writes that go on', bucketMs, series, events, table: tableOf(steps) }),
    );
  }

  /** What the processes said, for whoever wants to know why a step was slow or failed. */
  async keepLogs(): Promise<void> {
    for (const namespace of [releaseFor(this.#cluster).namespace, NAMESPACE]) {
      for (const pod of await this.#cluster.list('pods', namespace)) {
        const args = ['logs', '-n', namespace, pod.metadata.name, '--all-containers', '--prefix', '--ignore-errors'];
        const text = await this.#cluster.kubectl(args, { timeoutMs: 20_000 }).catch((error: Error) => error.message);
        writeFileSync(join(OUT, `demo-${pod.metadata.name}.log`), text);
      }
    }
  }

  remove(): void {
    this.#writers.remove();
    this.#linux?.remove();
  }
}

function isWhole(linux: LinuxResult | undefined): boolean {
  return linux === undefined || (linux.errors === 0 && linux.found === linux.written && linux.written > 0);
}

/** Throws when a program that only people can install is missing. */
async function present(program: string, args: string[]): Promise<void> {
  await run(program, args).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT')
      throw new Error(`${program} is needed for a cluster of your own, and is not on the PATH`);
    throw error;
  });
}

async function main(): Promise<number> {
  mkdirSync(OUT, { recursive: true });
  const cluster = await Kubernetes.get(say);
  let image = process.env.IMAGE;
  if (cluster.embedded) {
    say('building the image and giving it to the nodes');
    await run('make', ['image'], { cwd: ROOT, onLine: say });
    await run(join(ROOT, 'test/cluster/load-image.sh'), [join(ROOT, 'build/holdfast-image.tar')], { onLine: say });
    image = undefined;
  } else {
    say('this cluster is not the demo’s own: the steps that kill a process and cut a node off are left out');
    await present('kubectl', ['version', '--client']);
    await present('helm', ['version']);
    await takeCareOf(cluster);
    if (!image)
      throw new Error('say which image to use, one that the nodes can pull: make demo KUBECONFIG=... IMAGE=...');
  }
  const nodes = (
    JSON.parse(await cluster.kubectl(['get', 'nodes', '-o', 'json'])) as { items: { metadata: { name: string } }[] }
  ).items;
  const demo = new Demo(cluster, image ?? '', nodes.at(-1)?.metadata.name ?? '');
  try {
    await demo.clear();
    await demo.install(image);
    await demo.upload('before');
    await demo.greetServers();
    await demo.startWriters();
    await demo.step('node drained', () => demo.drain());
    await demo.step('rolling upgrade', () => demo.rollingUpgrade());
    if (cluster.embedded) {
      await demo.step('file server killed', () => demo.kill());
      await demo.step('node cut off', () => demo.cutOff());
    }
    await demo.upload('after');
    const good = await demo.finish();
    say(good ? `nothing was lost. ${USER}'s share ${SHARE} is still there` : 'SOMETHING WAS LOST: see above');
    say('to take all away:');
    for (const command of cluster.embedded ? ['make cluster-down'] : removalCommands(cluster)) say(`  ${command}`);
    return good ? 0 : 1;
  } finally {
    demo.remove();
    await demo.keepLogs().catch((error: Error) => say(`the logs could not be kept: ${error.message}`));
  }
}

process.exitCode = await main().catch((error: unknown) => {
  say(`the demo failed: ${error instanceof Error ? error.message : String(error)}`);
  return 1;
});
