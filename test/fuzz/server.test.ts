// A live server fed with damaged recordings of real clients: what they sent is sent again by somebody who is logged on, with bytes,
// lengths and order changed, and by somebody who is not. It never exits, hangs or grows, and another client notices nothing.
//   SEED=n            repeats a run (what the server does meanwhile depends on time, too)
//   FUZZ_SECONDS=n    how long it takes (default 12)
import { execFileSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Client } from '../../client/index.ts';
import { Command, Fsctl } from '../../smb/constants.ts';
import { HEADER_SIZE } from '../../smb/wire/header.ts';
import { run } from '../cluster/shell.ts';
import { Random } from '../faults/random.ts';
import { RawClient, READ_WRITE } from '../faults/raw-client.ts';
import { PASSWORD, Serving, USER } from '../serving.ts';
import { mutated } from './mutate.ts';
import { inFrame, Recorder } from './recorder.ts';
import { commandOf, RawConnection, Replay, type Step, stepsOf } from './replay.ts';

const SEED = Number(process.env.SEED ?? randomInt(1, 1_000_000));
const SECONDS = Number(process.env.FUZZ_SECONDS ?? 12);
const WITNESS = 'bob';
const WITNESS_PASSWORD = 'battery staple';
/** Nobody waits longer than that for an answer, however the other clients behave; the machine is shared and slow at times. */
const MAX_WITNESS_MS = 5_000;
/** What the server's memory may grow by after the first quarter of the time: caches and what the collector has not freed yet. */
const MAX_GROWTH_BYTES = 192 * 1024 * 1024;
/** How long an answer is waited for that may never come. */
const ANSWER_MS = 250;
const ATTACKERS = 4;
const KNOCKERS = 1;
/** After so many connections the volume is emptied. */
const ROUNDS_A_VOLUME = 20;
const VOLUME_SIZE = '256m';
const RECORD_TIMEOUT_MS = 120_000;
/** Requests of a logon hold for their own connection only. */
const NOT_REPLAYED: readonly number[] = [Command.NEGOTIATE, Command.SESSION_SETUP];
/** smbtorture as a client: short tests that between them send every command and most of their contexts and classes. */
const TORTURE = [
  ...['smb2.create.blob', 'smb2.lock.rw-exclusive', 'smb2.ioctl.copy_chunk_simple', 'smb2.ioctl.sparse_punch'],
  ...['smb2.oplock.batch19', 'smb2.lease.request', 'smb2.durable-v2-open.open-oplock', 'smb2.streams.io'],
  ...['smb2.setinfo', 'smb2.getinfo.complex', 'smb2.notify.valid-req', 'smb2.compound.related1', 'smb2.ea.acl_xattr'],
  ...[
    'smb2.acls.SDFLAGSVSCHOWN',
    'smb2.dir.find',
    'smb2.rename.simple',
    'smb2.compound_async.flush_flush',
    'smb2.oplock.batch1',
  ],
];

describe(`seed ${SEED}: a server fed with damaged recordings`, () => {
  const random = new Random(SEED);
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-fuzz-'));
  let serving: Serving;
  let recordings: Step[][] = [];
  let logons: Buffer[] = [];
  let isMounted = false;
  /** Requests that were sent by who is logged on. */
  const counts = { damaged: 0, undamaged: 0, succeeded: 0 };

  beforeAll(async () => {
    isMounted = mountVolume(folder);
    serving = await Serving.start({
      directory: folder,
      flags: ['--signing', 'Desired', '--min-dialect', '2.0.2', '--user', `${WITNESS}:${WITNESS_PASSWORD}`],
    });
    const recorder = await Recorder.to(serving.addresses[0] ?? '');
    await recordClients(recorder.port);
    await recorder.close();
    const all = recorder.connections.map(stepsOf);
    logons = all.flat().flatMap(({ request }) => (NOT_REPLAYED.includes(commandOf(request)) ? [request] : []));
    recordings = all.map((steps) => steps.filter((step) => !isOfLogon(step))).filter((steps) => steps.length > 0);
  }, RECORD_TIMEOUT_MS);

  afterAll(async () => {
    await serving?.stop();
    if (isMounted) execFileSync('umount', ['-l', folder]);
    rmSync(folder, { recursive: true, force: true });
  }, 30_000);

  test('every command was recorded', () => {
    const commands = new Set(recordings.flat().map(({ request }) => commandOf(request)));
    const wanted = Object.values(Command).filter((command) => !NOT_REPLAYED.includes(command));
    const rare: readonly number[] = [
      Command.CANCEL,
      Command.ECHO,
      Command.LOGOFF,
      Command.SERVER_TO_CLIENT_NOTIFICATION,
    ];
    expect(wanted.filter((command) => !commands.has(command) && !rare.includes(command))).toEqual([]);
  });

  test(
    'it goes on as if nothing were',
    async () => {
      const fileServer = serving.pid('fileserver-0');
      const sidecar = serving.pid('sidecar-0');
      const address = serving.addresses[0] ?? '';
      const witness = await Witness.start(address);
      const startedAt = performance.now();
      const lasted = () => (performance.now() - startedAt) / 1000;
      let before: number | undefined;
      let rounds = 0;
      const worker = async (act: (address: string, deadline: number) => Promise<void>) => {
        for (; lasted() < SECONDS; rounds++) {
          await act(address, startedAt + SECONDS * 1000);
          if (before === undefined && lasted() > SECONDS / 4) before = residentBytes(fileServer);
          if (rounds % ROUNDS_A_VOLUME === 0) emptyVolume();
        }
      };
      await Promise.all([
        ...Array.from({ length: ATTACKERS }, () => worker(attack)),
        ...Array.from({ length: KNOCKERS }, () => worker(knock)),
      ]);
      const grown = residentBytes(fileServer) - (before ?? 0);
      const seen = await witness.stop();
      if (process.env.HOLDFAST_TEST_LOG) console.log({ ...counts, rounds, grown, ...seen });

      expect([serving.pid('fileserver-0'), serving.pid('sidecar-0')]).toEqual([fileServer, sidecar]);
      expect(rounds).toBeGreaterThan(1);
      // Much of what is not damaged still does what it did: the damage reaches further than the first checks.
      expect(counts.damaged).toBeGreaterThan(SECONDS);
      expect(counts.succeeded).toBeGreaterThan(counts.undamaged / 5);
      expect(seen.errors).toEqual([]);
      expect(seen.operations).toBeGreaterThan(SECONDS);
      expect(seen.longestMs).toBeLessThan(MAX_WITNESS_MS);
      expect(grown).toBeLessThan(MAX_GROWTH_BYTES);
      const broken = serving.log.filter((line) => line.level === 'error' || line.level === 'fatal');
      expect(broken.slice(0, 3)).toEqual([]);
    },
    SECONDS * 1000 + 60_000,
  );

  /** One recording sent again by somebody who is logged on. */
  async function attack(address: string, deadline: number): Promise<void> {
    const connection = await RawConnection.to(address);
    try {
      await connection.logOn(USER, PASSWORD);
      const replay = new Replay(connection);
      const steps = reordered(random.pick(recordings));
      const others = steps.map(({ request }) => request);
      for (const step of steps) {
        if (!connection.isOpen || performance.now() > deadline) return;
        const { request, messageIds } = replay.prepare(step);
        const isDamaged = random.next() < 0.25;
        connection.write(framed(isDamaged ? mutated(request, random, others) : request));
        const succeeded = await replay.learn(step, messageIds, isDamaged ? ANSWER_MS / 8 : ANSWER_MS);
        if (isDamaged) counts.damaged++;
        else {
          counts.undamaged++;
          if (succeeded) counts.succeeded++;
        }
      }
    } finally {
      connection.close();
    }
  }

  /** Messages of logons, and others, from somebody who is not logged on. */
  async function knock(address: string): Promise<void> {
    const connection = await RawConnection.to(address);
    for (let i = 0; i < 4 && connection.isOpen; i++) {
      const message = random.next() < 0.8 ? random.pick(logons) : random.pick(random.pick(recordings)).request;
      connection.write(framed(random.next() < 0.2 ? message : mutated(message, random, logons)));
      await connection.answer(BigInt(i), ANSWER_MS / 8);
    }
    connection.close();
  }

  /** A message in its frame, which now and then says another length. */
  function framed(message: Buffer): Buffer {
    if (random.next() > 0.03) return inFrame(message);
    return inFrame(message, random.pick([0, message.length - 1, message.length + 1, 0xff_ffff, 0x8500_0000]));
  }

  /** Some steps left out, sent twice or earlier than they were. */
  function reordered(steps: readonly Step[]): Step[] {
    return steps.flatMap((step) => {
      const chance = random.next();
      if (chance < 0.02) return [];
      if (chance < 0.04) return [step, step];
      return chance < 0.06 ? [random.pick(steps), step] : [step];
    });
  }

  function emptyVolume(): void {
    for (const name of readdirSync(folder)) {
      if (!name.startsWith('.holdfast') && name !== Witness.FILE)
        // A server may still be carrying out what a client asked for that is gone.
        rmSync(join(folder, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    }
  }
});

/** Whether a request holds for its own connection only: those of a logon, and what checks its NEGOTIATE afterwards. */
function isOfLogon({ request }: Step): boolean {
  if (commandOf(request) !== Command.IOCTL) return NOT_REPLAYED.includes(commandOf(request));
  return request.readUInt32LE(HEADER_SIZE + 4) === Fsctl.VALIDATE_NEGOTIATE_INFO;
}

/** A small volume of its own, so that what is written at random fills no disk; as a user who may not mount, a plain folder. */
function mountVolume(folder: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${VOLUME_SIZE}`, 'holdfast-fuzz', folder], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

/** smbclient, smbtorture and our own client at work, on dialects and with protection that leave the messages readable. */
async function recordClients(port: number): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'holdfast-fuzz-work-'));
  const user = ['-U', `${USER}%${PASSWORD}`, '-p', String(port), '--client-protection=off'];
  try {
    writeFileSync(join(work, 'up'), Buffer.alloc(100_000, 'content'));
    const script = [
      ...['mkdir d', 'put up d/file', 'put up d/file:stream', 'ls d/*', 'allinfo d/file', 'get d/file down'],
      ...['setmode d/file +h', 'rename d/file d/other', 'du', 'volume', 'del d/other', 'rmdir d'],
    ];
    for (const dialect of ['SMB3_02', 'SMB3_11', 'SMB2_10']) {
      await run('smbclient', ['//127.0.0.1/share', ...user, '-m', dialect, '-c', script.join('; ')], { cwd: work });
    }
    await run('smbclient', ['-L', '//127.0.0.1', ...user, '-m', 'SMB3_02']);
    const torture = [
      '//127.0.0.1/share',
      ...user,
      '--option=client max protocol=SMB3_02',
      '--option=client ipc signing=off',
    ];
    // What it finds does not matter here: it is there for what it sends.
    const timeoutMs = 20_000;
    for (const name of TORTURE) await run('smbtorture', [...torture, name], { timeoutMs }).catch(() => {});
    const client = await Client.connect({
      addresses: `127.0.0.1:${port}`,
      user: USER,
      password: PASSWORD,
      share: 'share',
    });
    await client.mkdir('ours');
    await client.list('');
    await client.remove('ours');
    await client.close();
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Another user's client, with one file open all the while, who writes and reads and must never wait long or be refused. */
class Witness {
  static readonly FILE = 'witness';
  #isOver = false;
  readonly #result: Promise<{ errors: string[]; operations: number; longestMs: number }>;

  private constructor(client: RawClient) {
    this.#result = this.#work(client);
  }

  static async start(address: string): Promise<Witness> {
    const credentials = { user: WITNESS, password: WITNESS_PASSWORD, share: 'share' };
    return new Witness(await RawClient.connect(address, credentials));
  }

  stop() {
    this.#isOver = true;
    return this.#result;
  }

  async #work(client: RawClient) {
    const errors: string[] = [];
    let operations = 0;
    let longestMs = 0;
    const open = await client.open(Witness.FILE, { access: READ_WRITE, shareAccess: 0 });
    while (!this.#isOver && errors.length === 0) {
      const block = Buffer.alloc(4096, operations);
      const startedAt = performance.now();
      const wrote = await client.write(open, 0, block);
      if (wrote !== 'STATUS_SUCCESS') errors.push(`write: ${wrote}`);
      const read = await client.read(open, 0, block.length);
      if (typeof read === 'string') errors.push(`read: ${read}`);
      else if (!read.equals(block)) errors.push('read: other bytes than were written');
      longestMs = Math.max(longestMs, performance.now() - startedAt);
      operations++;
      await new Promise((wake) => setTimeout(wake, 20));
    }
    if (client.lost) errors.push(`lost: ${client.lost.message}`);
    client.close();
    return { errors, operations, longestMs };
  }
}

function residentBytes(pid: number): number {
  const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1024;
}
