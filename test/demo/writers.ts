// The demo's writers: processes of `holdfast write-through`, each with a connection and handles of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { WriterProgress, WriterReport } from '../../client/cli/report.ts';
import type { Verdict } from '../../client/cli/verify-blocks.ts';
import { type Kubernetes, ROOT } from '../cluster/kubernetes.ts';
import { CommandError, ended, run } from '../cluster/shell.ts';
import { CLUSTER, NAMESPACE, SHARE, USER } from './installation.ts';
import { StepWatch } from './step-watch.ts';

export interface WritersPlan {
  processes: number;
  handlesEach: number;
  password: string;
  /** Where the writers may run on a cluster that is not our own: a node that is left alone. */
  node?: string;
  image?: string;
}

/**
 * Runs the writer until there is a /report/stop, then leaves /report/done behind, and stays for what is asked of the pod afterwards. The
 * image has no shell.
 */
const IN_POD = `
const { existsSync, writeFileSync } = require('node:fs');
const writer = require('node:child_process').spawn('holdfast', process.argv.slice(1), { stdio: 'inherit' });
const look = setInterval(() => {
  if (!existsSync('/report/stop')) return;
  clearInterval(look); // told once: a second time would end it before its report is written
  writer.kill('SIGTERM');
}, 200);
writer.once('close', () => {
  clearInterval(look);
  writeFileSync('/report/done', '');
  setTimeout(() => {}, 900_000);
});
process.on('SIGTERM', () => process.exit(0));
`;
/** Prints the report of a writer when it is there. */
const REPORT_OF = `
const { existsSync, readFileSync } = require('node:fs');
const look = setInterval(() => {
  if (!existsSync('/report/done')) return;
  clearInterval(look);
  process.stdout.write(readFileSync(process.argv[1], 'utf8'));
}, 200);
`;

/**
 * Blocks of each file. As long as some were never written, every second write goes to a new one, and every other overwrites an earlier
 * one: with so many (64 MiB), for 32,768 writes of a handle.
 */
const SLOTS = 16_384;

/** What kubectl says to people whenever it attaches. */
const KUBECTL_ADVICE = /^(All commands and output from this session|If you don't see a command prompt)/;

/** Connects to the pods themselves: the headless Service's name gives all their addresses. */
const HOST = `${CLUSTER}-servers.${NAMESPACE}.svc.cluster.local`;

export class Writers {
  readonly #cluster: Kubernetes;
  readonly #plan: WritersPlan;
  readonly #folder = mkdtempSync(join(tmpdir(), 'holdfast-demo-'));
  readonly #children = new Map<string, ChildProcess>();
  /** What the writers' lines tell about a step. */
  readonly watch = new StepWatch();
  readonly #messages: string[] = [];

  constructor(cluster: Kubernetes, plan: WritersPlan) {
    this.#cluster = cluster;
    this.#plan = plan;
  }

  get handles(): number {
    return this.#plan.processes * this.#plan.handlesEach;
  }

  /** Blocks acknowledged so far, as of the last progress line of each writer. */
  get ackedBlocks(): number {
    return this.watch.blocks().reduce((sum, blocks) => sum + blocks, 0);
  }

  /** What the writers said on standard error; empty when nothing was wrong. */
  get messages(): string[] {
    return this.#messages;
  }

  start(): void {
    writeFileSync(join(this.#folder, 'password'), this.#plan.password, { mode: 0o600 });
    writeFileSync(join(this.#folder, 'resolv.conf'), 'nameserver 10.77.0.1\n');
    for (let i = 0; i < this.#plan.processes; i++) this.#startOne(`writer-${String.fromCharCode(97 + i)}`);
  }

  #startOne(name: string): void {
    const [program, args] = this.#cluster.embedded ? this.#local(name) : this.#inPod(name);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: this.#cluster.environment() });
    this.#children.set(name, child);
    createInterface({ input: child.stdout }).on('line', (line) => {
      try {
        const progress = JSON.parse(line) as Partial<WriterProgress>;
        const { perHandle, reclaimed = 0, callerErrors = 0 } = progress;
        if (perHandle) this.watch.line(name, { perHandle, reclaimed, callerErrors });
      } catch {
        this.#messages.push(`${name}: ${line}`);
      }
    });
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (!KUBECTL_ADVICE.test(line)) this.#messages.push(`${name}: ${line}`);
    });
  }

  #flags(name: string, folder: string): string[] {
    return [
      ...['write-through', `smb://${USER}@${HOST}/${SHARE}`, '--password-file', `${folder}/password`],
      ...['--prefix', name, '--handles', String(this.#plan.handlesEach), '--slots', String(SLOTS)],
      ...['--seconds', '3600', '--report', `${folder}/${name}.json`, '--progress', 'json'],
    ];
  }

  /** On this machine, with the embedded cluster's name server in place of the machine's own. */
  #local(name: string): [string, string[]] {
    const script = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"';
    return [
      'unshare',
      [
        ...['--mount', '--', 'sh', '-c', script, 'sh', join(this.#folder, 'resolv.conf')],
        ...[join(ROOT, 'bin/holdfast'), ...this.#flags(name, this.#folder)],
      ],
    ];
  }

  /** As a pod, on a node that the demo leaves alone. */
  #inPod(name: string): [string, string[]] {
    const pod = {
      apiVersion: 'v1',
      spec: {
        nodeName: this.#plan.node,
        securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
        containers: [
          {
            name,
            image: this.#plan.image,
            // The writer stops when it is told to; the pod stays until its report was fetched and the blocks were compared.
            command: ['node', '-e', IN_POD, '--', ...this.#flags(name, '/report')],
            securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
            volumeMounts: [
              { name: 'report', mountPath: '/report' },
              { name: 'users', mountPath: '/report/password', subPath: USER },
            ],
          },
        ],
        volumes: [
          { name: 'report', emptyDir: {} },
          { name: 'users', secret: { secretName: 'media-users' } },
        ],
      },
    };
    return [
      'kubectl',
      [
        'run',
        name,
        '-n',
        NAMESPACE,
        '--restart=Never',
        '--attach',
        '--image',
        this.#plan.image ?? '',
        '--overrides',
        JSON.stringify(pod),
      ],
    ];
  }

  /** A node that has to be left alone because writers run there; undefined where they run on this machine. */
  get quietNode(): string | undefined {
    return this.#cluster.embedded ? undefined : this.#plan.node;
  }

  /** Throws when a writer has ended by itself. */
  check(): void {
    for (const [name, child] of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) {
        throw new Error(
          `${name} ended: ${this.#messages
            .filter((line) => line.startsWith(name))
            .slice(-3)
            .join('; ')}`,
        );
      }
    }
  }

  /** Lets every writer finish what it has begun and gives their reports. The files of the reports are in `folder`. */
  async stop(): Promise<{ reports: WriterReport[]; files: string[] }> {
    for (const [name, child] of this.#children) {
      if (this.#cluster.embedded) child.kill('SIGTERM');
      else await this.#inside(name, ['node', '-e', "require('node:fs').writeFileSync('/report/stop', '')"]);
    }
    const files: string[] = [];
    for (const [name, child] of this.#children) {
      const file = join(this.#folder, `${name}.json`);
      if (this.#cluster.embedded)
        await (child.exitCode === null && child.signalCode === null ? ended(child) : undefined);
      else writeFileSync(file, await this.#fetch(name));
      files.push(file);
    }
    return { files, reports: files.map((file) => JSON.parse(readFileSync(file, 'utf8')) as WriterReport) };
  }

  /** Runs a program in a writer's pod. */
  #inside(pod: string, command: string[]): Promise<string> {
    return this.#cluster.kubectl(['exec', '-n', NAMESPACE, pod, '-c', pod, '--', ...command]);
  }

  #fetch(pod: string): Promise<string> {
    return this.#inside(pod, ['node', '-e', REPORT_OF, '--', `/report/${pod}.json`]);
  }

  /** Reads every acknowledged block back: from the volume's folder, or over SMB in the writer's pod where that is not on this machine. */
  async verify(report: WriterReport, file: string, folder: string | undefined): Promise<Verdict> {
    try {
      const text = folder
        ? await run(join(ROOT, 'bin/holdfast'), ['verify-blocks', '--report', file, '--dir', folder])
        : await this.#inside(report.writer, [
            ...['holdfast', 'verify-blocks', '--report', `/report/${report.writer}.json`],
            ...['--address', `smb://${USER}@${HOST}/${SHARE}`, '--password-file', '/report/password'],
          ]);
      return JSON.parse(text) as Verdict;
    } catch (error) {
      // It fails when something is lost, and says what on standard output all the same.
      if (error instanceof CommandError && error.stdout.startsWith('{')) return JSON.parse(error.stdout) as Verdict;
      throw error;
    }
  }

  remove(): void {
    for (const child of this.#children.values()) child.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
