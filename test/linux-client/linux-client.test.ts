// What programs do on a mount of the Linux kernel's client, with its caching on, in a small emulated machine; compared with the same on that
// machine's own memory. On a plain share with both mounts at one server, and on a continuously available one with persistent handles and each
// mount at another server; then with writers whose server is taken away.
//   FILES=3000       of the source tree; all else is scaled with it (default 40)
//   SEED=n           of the random I/O; a failure prints it
//   WORKLOADS=git    only those, by name ("failover" is one)
//   ROUNDS=20        of each event that takes the writers' server away (default 1, with a long tree 5)
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseAddress } from '../../client/connect/address.ts';
import { Client, type File } from '../../client/index.ts';
import { eventually } from '../cluster/shell.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';
import { SidecarControl } from '../sidecar-control.ts';
import { HOST, LinuxMachine } from './machine.ts';
import { Service } from './service.ts';
import { INPUTS, prepareShare, TOOLS } from './share.ts';
import { sizeFor, workloads } from './workloads.ts';

const size = sizeFor(Number(process.env.FILES ?? 40), Number(process.env.SEED ?? Date.now() % 100_000));
const isLong = size.files >= 1000;
const chosen = (name: string) => !process.env.WORKLOADS || process.env.WORKLOADS.split(',').includes(name);
const scripts = workloads(size);
const names = Object.keys(scripts).filter(chosen);
/** What the kind of handle makes no difference to is left out of the short form. */
const mounts = [
  { share: 'plain', names },
  { share: 'persistent', names: names.filter((name) => isLong || !['rsync', 'git'].includes(name)) },
];
const withFailover = chosen('failover');
/** Emulation is slow: starting the machine, and each file that passes it. */
const MACHINE_SECONDS = 900 + size.files;
const SOON_MS = 60_000;
/** For a planned move; a killed process the kernel notices as soon, by its reset. */
const PAUSE_MS = 1500;
const WRITERS = ['shared', 'cached'];
/** Of a block that was not written; the writer goes on with it. */
const TROUBLE = /(writing|fsync after) block|cannot begin/;
/** What the writers lock, far behind what they write. */
const LOCKED_FROM = 2 ** 30;

interface Event {
  name: string;
  /** Whether the server may reset its connections: a reset can fail the write that is being sent. */
  mayReset: boolean;
  /** Takes the writers' server away. */
  strike: (serving: Serving, source: number, stateDirectory: string) => Promise<void>;
}

const events: Event[] = [
  {
    name: 'a planned move',
    mayReset: false,
    strike: async (serving, source, stateDirectory) => {
      const control = await SidecarControl.connect(serving.detail(`sidecar-${source}`, 'address'), stateDirectory);
      const { phase, message } = await control.migrate({ migrationId: `linux-client-${performance.now()}` });
      control.close();
      expect({ phase, message }).toMatchObject({ phase: 'Done' });
    },
  },
  { name: 'a killed process', mayReset: true, strike: (serving, source) => serving.kill(`fileserver-${source}`) },
];
const ROUNDS = Number(process.env.ROUNDS ?? (isLong ? 5 : 1));
const EVENTS = Array.from({ length: ROUNDS }, (_, i) => events.map((event) => ({ ...event, round: i + 1 }))).flat();

describe("the Linux kernel's client", () => {
  let plain: Serving;
  let persistent: Serving;
  let service: Service;
  let machine: LinuxMachine;
  let client: Client | undefined;
  let held: File | undefined;
  const work = mkdtempSync(join(tmpdir(), 'holdfast-workloads-'));
  const stateDirectory = mkdtempSync(join(tmpdir(), 'holdfast-state-'));

  beforeAll(async () => {
    plain = await Serving.start();
    persistent = await Serving.start({
      servers: 2,
      flags: ['--continuously-available', '--state-dir', stateDirectory],
    });
    service = await Service.to(persistent.addresses);
    await prepareShare(work, plain.directory, size.files);
    machine = await LinuxMachine.start(commands(plain, persistent, service.port), MACHINE_SECONDS);
    await machine.said(/^READY$/, SOON_MS * 3);
  }, SOON_MS * 4);

  afterAll(async () => {
    await client?.close();
    await machine?.stop();
    await service?.close();
    await plain?.stop();
    await persistent?.stop();
    for (const folder of [work, stateDirectory]) rmSync(folder, { recursive: true, force: true });
  }, SOON_MS);

  for (const { share, names } of mounts) {
    if (names.length === 0) continue;
    test.each(names)(
      `%s on a ${share} share`,
      async (name) => {
        const since = machine.lines.length;
        const [, outcome] = await machine.said(
          new RegExp(`^WORKLOAD ${share} ${name} (passed|failed)`),
          MACHINE_SECONDS * 1000,
        );
        if (outcome !== 'passed') throw new Error(machine.lines.slice(since).join('\n'));
      },
      MACHINE_SECONDS * 1000,
    );
  }

  test('leaves nothing on the volumes', () => {
    const left = [plain, persistent].flatMap(({ directory }) => readdirSync(directory));
    expect(left.filter((name) => ![TOOLS, INPUTS].includes(name) && !name.startsWith('.holdfast'))).toEqual([]);
  });

  const failover = withFailover ? test : test.skip;

  failover(
    'writes to files that it holds locks on',
    async () => {
      client = await Client.connect({
        addresses: persistent.addresses,
        user: USER,
        password: PASSWORD,
        share: 'share',
      });
      // Open here too: the kernel caches nothing of this file, and its lock is the server's. Of the other it caches everything.
      held = await client.open('shared', { access: 'readwrite', disposition: 'openIf' });
      machine.release('failover');
      await bothWrite(0);
    },
    SOON_MS,
  );

  failover.each(EVENTS)(
    'goes on through $name, round $round',
    async ({ name, mayReset, strike }) => {
      const source = service.newest;
      for (const server of [0, 1]) {
        await eventually(
          `server ${server} is ready`,
          SOON_MS,
          async () => (await persistent.isReady(server)) || undefined,
        );
      }
      const calmMs = await pausesDuring(async () => {});
      const { resets } = service;
      const pauseMs = await pausesDuring(async () => {
        // As the operator does it: routing is cut first.
        service.routeTo([1 - source]);
        await strike(persistent, source, stateDirectory);
      });
      say(`${name}: the writers paused ${pauseMs.join(' and ')} ms (before: ${calmMs.join(' and ')} ms)`);
      expect(service.newest).toBe(1 - source);
      if (!mayReset) expect(service.resets).toBe(resets);
      // What this machine holds up in any case is not the move's.
      expect(Math.max(...pauseMs)).toBeLessThan(PAUSE_MS + Math.max(...calmMs));
      await expectLocked(held);
    },
    2 * SOON_MS,
  );

  failover(
    'has its locks and all that it wrote in the end',
    async () => {
      const other = await client?.open('cached', { access: 'readwrite' });
      await expectLocked(other);
      await other?.close();
      machine.release('end');
      for (const name of WRITERS) {
        const pattern = new RegExp(`^WRITER ${name} ended: written=(\\d+) errors=(\\d+) wrong=(\\d+) unlocked=(\\d)`);
        // It reads back all that it wrote.
        const [, written, errors, wrong, unlocked] = await machine.said(pattern, SOON_MS * ROUNDS);
        const troubles = machine.lines.filter((line) => line.startsWith(`WRITER ${name} `) && TROUBLE.test(line));
        expect({ name, troubles, errors, wrong, unlocked }).toEqual({
          ...{ name, troubles: [], errors: '0', wrong: '0', unlocked: '1' },
        });
        expect(blocksOf(join(persistent.directory, name))).toBe(Number(written));
      }
      await held?.lock(LOCKED_FROM, 16);
      await held?.close();
      machine.release('read');
    },
    (1 + ROUNDS) * SOON_MS,
  );

  test(
    'its machine ends well',
    async () => {
      expect(await machine.over()).toBe(0);
    },
    SOON_MS,
  );

  /** How long each writer paused at the longest, from the event on until both write again. */
  async function pausesDuring(event: () => Promise<void>): Promise<number[]> {
    const since = machine.lines.length;
    await event();
    // Twice: the first may have been on its way.
    await bothWrite(machine.lines.length);
    await bothWrite(machine.lines.length);
    return WRITERS.map((name) => {
      const pattern = new RegExp(`^WRITER ${name} paused (\\d+) ms`);
      return Math.max(0, ...machine.lines.slice(since).map((line) => Number(pattern.exec(line)?.[1] ?? 0)));
    });
  }

  async function bothWrite(since: number): Promise<void> {
    for (const name of WRITERS) {
      await machine.said(new RegExp(`^WRITER ${name} wrote`), SOON_MS, since);
    }
  }
});

/** The kernel's program has it, so nobody else gets it. */
async function expectLocked(file: File | undefined): Promise<void> {
  await expect(file?.lock(LOCKED_FROM, 16)).rejects.toThrow(/lock/i);
}

/** How many of the writer's blocks lie in a file, one after the other, as they were written. */
function blocksOf(path: string): number {
  const bytes = readFileSync(path);
  const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
  let blocks = 0;
  for (; blocks < words.length / 512; blocks++) {
    for (let i = 0; i < 512; i++) if (words[blocks * 512 + i] !== BigInt(blocks) * 1000003n + BigInt(i)) return blocks;
  }
  return blocks;
}

/** To the terminal, past jest. */
function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** What the small machine runs: each workload in a shell of its own that ends at the first error. */
function commands(plain: Serving, persistent: Serving, servicePort: number): string {
  const ports = (serving: Serving) => serving.addresses.map((address) => parseAddress(address).port);
  const [plainPort] = ports(plain);
  const [first, second] = ports(persistent);
  const mountFunctions = (a: number | undefined, b: number | undefined, options: string) => `
    mount_share() { mount -t cifs //${HOST}/share $1 -o "username=${USER},password=${PASSWORD},vers=3.1.1,port=$2${options}\${3:+,$3}"; }
    mount_a() { mount_share $A ${a} $1; }
    mount_b() { mount_share $B ${b} nosharesock\${1:+,$1}; }`;
  const options = { plain: '', persistent: ',persistenthandles' };
  const mountsOf = {
    plain: mountFunctions(plainPort, plainPort, options.plain),
    persistent: mountFunctions(first, second, options.persistent),
  };
  const runs = mounts.flatMap(({ share, names }) => {
    const lines = [
      `cat > /tmp/mounts.sh <<'END'\nset -e\nA=/${share}-a B=/${share}-b\n${mountsOf[share as keyof typeof mountsOf]}\nEND`,
      `mkdir -p /${share}-a /${share}-b`,
    ];
    for (const name of names) {
      // A script each: in the condition of an "if", a shell goes on after errors.
      lines.push(`cat > /tmp/${name}.sh <<'END'
. /tmp/mounts.sh
mount_a; mount_b
${scripts[name]}
END
began=$(date +%s)
if sh -e /tmp/${name}.sh 2>&1; then outcome=passed; else outcome=failed; fi
umount /${share}-a 2>/dev/null || true; umount /${share}-b 2>/dev/null || true
echo "WORKLOAD ${share} ${name} $outcome after $(($(date +%s) - began)) s"`);
    }
    return lines;
  });
  // nostrictsync: on a continuously available share what is written is stable, and this kernel repeats a WRITE that was under way when its
  // connection was lost, but no FLUSH (docs/limits.md).
  const failover = `
cat > /tmp/mounts.sh <<'END'
A=/failover
${mountFunctions(servicePort, servicePort, `${options.persistent},echo_interval=10,nostrictsync`)}
END
. /tmp/mounts.sh
mkdir $A
wait_for failover
mount_a
${WRITERS.map((name) => `steady-writer $A/${name} & ${name}=$!`).join('\n')}
wait_for end
kill ${WRITERS.map((name) => `$${name}`).join(' ')}
${WRITERS.map((name) => `wait $${name}`).join('\n')}
wait_for read
rm ${WRITERS.map((name) => `$A/${name}`).join(' ')}
umount $A`;
  return `
mkdir /inputs
mount -t cifs //${HOST}/share /inputs -o "username=${USER},password=${PASSWORD},vers=3.1.1,port=${plainPort},ro"
tar xf /inputs/${TOOLS} -C /; tar xf /inputs/${INPUTS} -C /tmp; tar xf /tmp/tree.tar -C /tmp
umount /inputs
echo READY
${runs.join('\n')}
${withFailover ? failover : ''}
`;
}
