import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { WriterProgress, WriterReport } from '../../client/cli/report.ts';
import { fromDirectory, type Verdict, verifyBlocks } from '../../client/cli/verify-blocks.ts';
import { Writer } from '../../client/cli/write-through.ts';
import { Client } from '../../client/index.ts';
import { ended } from '../cluster/shell.ts';
import { PASSWORD, partProgram, Serving, USER } from '../serving.ts';

// Our client and two of our own servers, as processes: what is promised to users, tried with real kills.
jest.setTimeout(120_000);

const HANDLES = 24;

let serving: Serving;

beforeAll(async () => {
  serving = await Serving.start({ servers: 2, flags: ['--continuously-available'] });
});
afterAll(async () => {
  await serving?.stop();
});

async function connect(addresses = serving.addresses): Promise<Client> {
  return Client.connect({ addresses, user: USER, password: PASSWORD, share: 'share' });
}

/** Writes through many handles while `disturb` runs and a little longer, and compares the volume with what was acknowledged. */
async function writeWhile(
  name: string,
  disturb: (client: Client, writer: Writer) => Promise<void>,
): Promise<{ report: WriterReport; verdict: Verdict }> {
  const client = await connect();
  const writer = await Writer.open(client, {
    writer: name,
    folder: 'failover',
    share: 'share',
    handles: HANDLES,
    blockBytes: 4096,
    slots: 256,
  });
  const stop = new AbortController();
  const running = writer.run(stop.signal);
  await acknowledges(writer, 200);
  await disturb(client, writer);
  await acknowledges(writer, 200);
  stop.abort();
  await running;
  const report = writer.report();
  await writer.close();
  await client.close();
  return { report, verdict: await verifyBlocks(report, fromDirectory(serving.directory)) };
}

/** Waits until that many more blocks are acknowledged. */
async function acknowledges(writer: Writer, blocks: number): Promise<void> {
  const goal = writer.progress.ackedBlocks + blocks;
  const endMs = performance.now() + 60_000;
  while (writer.progress.ackedBlocks < goal) {
    if (performance.now() > endMs)
      throw new Error(`no ${blocks} blocks within 60 s: ${JSON.stringify(writer.progress)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function serverOf(client: Client): number {
  const index = serving.addresses.indexOf(client.address ?? '');
  if (index < 0) throw new Error(`the client is at ${client.address}, which is none of ${serving.addresses}`);
  return index;
}

function failover(client: Client): Promise<{ durationMs: number; reclaimed: number; lost: number }> {
  return new Promise((resolve) => client.once('failoverEnded', resolve));
}

/**
 * Writes that a stopped process' pool threads stood before (UV_THREADPOOL_SIZE, by default 4): each may reach the volume when it wakes
 * up, after newer ones through another server. User space cannot rule that out; nothing else may be stale.
 */
const POOL_THREADS = 4;

/** @param stale how many blocks an older one of the same writer may stand in for */
function expectNothingLost({ report, verdict }: { report: WriterReport; verdict: Verdict }, stale = 0): void {
  expect(report.handles.flatMap((handle) => handle.errors)).toEqual([]);
  expect(report.handles.map((handle) => handle.durability)).toEqual(new Array(HANDLES).fill('persistent'));
  if (stale === 0) expect(verdict).toMatchObject({ lost: 0, torn: 0, problems: [] });
  expect(verdict.torn).toBe(0);
  expect(verdict.lost).toBeLessThanOrEqual(stale);
  for (const problem of verdict.problems) expect(problem).toMatch(new RegExp(`holds block \\d+ of ${report.writer}/`));
  expect(verdict.verified + verdict.lost).toBe(verdict.ackedSlots);
  expect(verdict.verified).toBeGreaterThan(100);
}

describe('writing through', () => {
  test('the loss of the connection', async () => {
    const outcome = await writeWhile('cut', async (client) => {
      const ended = failover(client);
      client.link?.connection.close();
      expect(await ended).toMatchObject({ reclaimed: HANDLES, lost: 0 });
    });
    expectNothingLost(outcome);
  });

  test('kill -9 of the file server, twice', async () => {
    const outcome = await writeWhile('killed', async (client, writer) => {
      for (let round = 0; round < 2; round++) {
        const ended = failover(client);
        await serving.kill(`fileserver-${serverOf(client)}`);
        expect(await ended).toMatchObject({ reclaimed: HANDLES, lost: 0 });
        await acknowledges(writer, 200);
      }
    });
    expectNothingLost(outcome);
    // How long it takes is for the benchmark to say; waiting for a lease to run out would be a mistake.
    expect(outcome.report.failovers.length).toBe(2);
  });

  test('a file server that is stopped for longer than its lease, and wakes up', async () => {
    const outcome = await writeWhile('stopped', async (client, writer) => {
      const stopped = `fileserver-${serverOf(client)}`;
      const ended = failover(client);
      serving.signal(stopped, 'SIGSTOP');
      try {
        expect(await ended).toMatchObject({ reclaimed: HANDLES, lost: 0 });
        await acknowledges(writer, 200);
      } finally {
        serving.signal(stopped, 'SIGCONT');
      }
    });
    expectNothingLost(outcome, POOL_THREADS);
  });
});

test('shares are listed though the server that was asked says nothing any more', async () => {
  await using client = await connect();
  const stopped = `fileserver-${serverOf(client)}`;
  serving.signal(stopped, 'SIGSTOP');
  try {
    expect((await client.shares()).map(({ name }) => name)).toContain('share');
  } finally {
    serving.signal(stopped, 'SIGCONT');
  }
});

describe('handles through kill -9 of the file server', () => {
  test('keep their locks', async () => {
    await using client = await connect();
    await using other = await connect([...serving.addresses].reverse());
    const file = await client.open('locked.bin', { access: 'readwrite', disposition: 'overwriteIf' });
    const theirs = await other.open('locked.bin', { access: 'readwrite' });
    await file.lock(0, 100);
    await file.lock(200, 100);
    await file.unlock(200, 100);
    const ended = failover(client);
    await serving.kill(`fileserver-${serverOf(client)}`);
    await ended;
    await expect(theirs.lock(50, 10)).rejects.toMatchObject({ code: 'STATUS_LOCK_NOT_GRANTED' });
    await theirs.lock(200, 100);
    await file.unlock(0, 100);
    await theirs.lock(50, 10);
  });

  test('keep what they said about sharing, and lists and stats go on', async () => {
    await using client = await connect();
    const file = await client.open('alone.bin', { access: 'readwrite', disposition: 'overwriteIf', shareAccess: 0 });
    await file.write(0, Buffer.from('mine'));
    const killed = serving.kill(`fileserver-${serverOf(client)}`);
    const listing = client.list();
    expect((await client.stat('alone.bin')).size).toBe(4);
    expect((await listing).map((entry) => entry.name)).toContain('alone.bin');
    await killed;
    await using other = await connect();
    await expect(other.open('alone.bin', { access: 'read' })).rejects.toMatchObject({
      code: 'STATUS_SHARING_VIOLATION',
    });
    expect((await file.read(0, 10)).toString()).toBe('mine');
  });

  test('copy files there and back whole', async () => {
    await using client = await connect();
    const data = Buffer.alloc(20_000_000, 'holdfast ');
    const file = await client.open('large.bin', { access: 'readwrite', disposition: 'overwriteIf' });
    const writing = file.write(0, data);
    await serving.kill(`fileserver-${serverOf(client)}`);
    await writing;
    const reading = file.read(0, data.length);
    const at = client.address === undefined ? 0 : serverOf(client);
    await serving.kill(`fileserver-${at}`);
    expect((await reading).equals(data)).toBe(true);
    await file.close();
    expect(readFileSync(join(serving.directory, 'large.bin')).equals(data)).toBe(true);
  });
});

describe('the command line', () => {
  let folder: string;
  const [program = '', ...main] = partProgram('client/cli');
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-commands-'));
    writeFileSync(join(folder, 'password'), `${PASSWORD}\nnot this line\n`, { mode: 0o600 });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const here = (name: string) => join(folder, name);
  const url = (path: string, user = USER) => `smb://${user}@${serving.addresses.join(',')}/share/${path}`;

  async function holdfast(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
    return holdfastUntil(() => false, ...args);
  }

  /** Ends it with SIGTERM as soon as what it has printed is enough. */
  async function holdfastUntil(
    isEnough: (out: string) => boolean,
    ...args: string[]
  ): Promise<{ code: number | null; out: string; err: string }> {
    const child = spawn(program, [...main, ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOLDFAST_PASSWORD_FILE: here('password'), NODE_NO_WARNINGS: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [out, err] = [child.stdout, child.stderr].map((stream) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      return chunks;
    });
    // Once: a second one would end it at once.
    child.stdout.on('data', () => {
      if (!child.killed && isEnough(Buffer.concat(out ?? []).toString())) child.kill('SIGTERM');
    });
    const code = await ended(child);
    return { code, out: Buffer.concat(out ?? []).toString(), err: Buffer.concat(err ?? []).toString() };
  }
  const done = { code: 0, err: '' };

  test('puts, lists, describes, gets and removes a file', async () => {
    // More than one request carries, and not a whole number of them.
    const data = Buffer.alloc(3_000_001, 'holdfast ');
    writeFileSync(here('up'), data);
    expect(await holdfast('put', here('up'), url('commands.bin'))).toEqual({ ...done, out: '' });
    expect(readFileSync(join(serving.directory, 'commands.bin')).equals(data)).toBe(true);
    const [listed, stat, got] = await Promise.all([
      holdfast('ls', '-l', url('')),
      holdfast('stat', url('commands.bin')),
      holdfast('get', url('commands.bin'), here('down')),
    ]);
    expect(listed).toMatchObject(done);
    expect(listed.out).toMatch(/^ +3000001 {2}\d{4}-\S+Z {2}commands\.bin$/m);
    expect(stat).toMatchObject(done);
    expect(JSON.parse(stat.out)).toMatchObject({ size: data.length, isDirectory: false });
    expect(got).toEqual({ ...done, out: '' });
    expect(readFileSync(here('down')).equals(data)).toBe(true);
    expect(await holdfast('rm', url('commands.bin'))).toEqual({ ...done, out: '' });
    expect(existsSync(join(serving.directory, 'commands.bin'))).toBe(false);
  });

  test('says what is wrong, with a status of its own', async () => {
    writeFileSync(here('wrong'), 'wrong\n', { mode: 0o600 });
    const [missing, refused, unnamed] = await Promise.all([
      holdfast('get', url('nothing'), here('nothing')),
      holdfast('ls', '--password-file', here('wrong'), url('')),
      holdfast('ls', `smb://${serving.addresses[0]}/share`),
    ]);
    expect(missing).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringMatching(/^holdfast: .*OBJECT_NAME_NOT_FOUND/),
    });
    expect(refused).toMatchObject({ code: 3, out: '', err: expect.stringMatching(/^holdfast: .*LOGON_FAILURE/) });
    expect(unnamed).toMatchObject({ code: 2, err: expect.stringContaining('names no user') });
    expect(readdirSync(folder).filter((name) => name.startsWith('nothing'))).toEqual([]);
  });

  test('writes through until it is told to end, and finds every block again', async () => {
    const report = here('report.json');
    const wrote = await holdfastUntil(
      (out) => /"ackedBlocks":[1-9]/.test(out),
      ...['write-through', url('commands'), '--handles', '3', '--seconds', '0', '--slots', '64'],
      ...['--report', report, '--prefix', 'commands', '--progress', 'json'],
    );
    expect(wrote).toMatchObject(done);
    const said = wrote.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string } & WriterProgress);
    expect([said[0]?.event, said.at(-1)?.event]).toEqual(['ready', 'done']);
    const last = said.at(-1);
    expect(last?.ackedBlocks).toBeGreaterThan(0);
    expect(last).toMatchObject({ handles: 3, reclaimed: 0, callerErrors: 0 });
    expect(last?.perHandle.reduce((sum, { ackedBlocks }) => sum + ackedBlocks, 0)).toBe(last?.ackedBlocks);
    // The longest pause of all is the longest that some line told of.
    const told = Math.max(...said.flatMap(({ perHandle }) => perHandle.map(({ pauseMs }) => pauseMs)));
    expect(told).toBe(last?.maxPauseMs);
    const verify = () => holdfast('verify-blocks', '--report', report, '--dir', serving.directory);
    const found = await verify();
    expect(found).toMatchObject(done);
    expect(JSON.parse(found.out)).toMatchObject({ ackedBlocks: said.at(-1)?.ackedBlocks, lost: 0, torn: 0 });
    // What it had acknowledged is gone: it must not say that all is well.
    rmSync(join(serving.directory, 'commands'), { recursive: true });
    expect((await verify()).code).toBe(1);
  });

  test('writes through until its time is up', async () => {
    let wasTold = false;
    const wrote = await holdfastUntil(
      (out) => {
        // A line a second: far more of them than seconds that it was given.
        wasTold = out.split('\n').length > 30;
        return wasTold;
      },
      ...['write-through', url('timed'), '--handles', '1', '--seconds', '1', '--slots', '4'],
      ...['--report', here('timed.json'), '--prefix', 'timed', '--progress', 'json'],
    );
    expect([wasTold, wrote]).toEqual([false, { ...done, out: expect.stringContaining('"event":"done"') }]);
  });
});
