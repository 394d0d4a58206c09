import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { readStoreConfig } from '../common/config.ts';
import { HoldfastError, reasonOf } from '../common/errors.ts';
import { createLogger } from '../common/logging.ts';
import { parseDurationMs } from '../common/time.ts';
import { LocalCluster, type LocalClusterOptions } from './local-cluster.ts';

const READY_WITHIN_MS = 60_000;
const MAX_SERVERS = 32;

interface Flags {
  share: string[];
  accessBasedEnumeration: string[];
  user: string[];
  servers: number;
  port: number;
  continuouslyAvailable: boolean;
  scaleOut: boolean;
  encryption: 'Required' | 'Desired' | 'Off';
  signing: 'Required' | 'Desired';
  minDialect: '2.0.2' | '2.1' | '3.0' | '3.0.2' | '3.1.1';
  anonymousIpc: boolean;
  leaseDuration: number;
  durability: 'Always' | 'EverySecond';
  store?: string;
  storePasswordFile?: string;
  stateDir?: string;
}

const program = new Command('holdfast serve')
  .description(
    'Shares a folder from this machine: file servers with their sidecars and a private Redis, on 127.0.0.1, without Kubernetes.\n' +
      'For trying it out, development and measuring. Prints "ready ADDRESS..." when all servers accept clients.',
  )
  .argument('<directory>', 'the folder to share')
  .option(
    '--share <name>',
    'name of the share; repeatable: the same folder by several names (default: "share")',
    collect,
    [],
  )
  .option(
    '--access-based-enumeration <name>',
    'a share of this name lists to each user only what they may read; repeatable',
    collect,
    [],
  )
  .option(
    '--user <name:password>',
    'somebody who may log on; repeatable (default: "holdfast" with a new password)',
    collect,
    [],
  )
  .option('--servers <n>', 'number of file servers', wholeNumber(1, MAX_SERVERS), 1)
  .option('--port <port>', 'port of the first server, the others follow', wholeNumber(1, 65_535), 4450)
  .option(
    '--continuously-available',
    'grant persistent handles; changes are answered when they are stable on the disk',
    false,
  )
  .option('--scale-out', 'a scale-out share: only read caching is granted', false)
  .addOption(
    new Option('--encryption <mode>', 'of the share').choices(['Required', 'Desired', 'Off']).default('Desired'),
  )
  .addOption(new Option('--signing <mode>', 'of every session').choices(['Required', 'Desired']).default('Required'))
  .addOption(
    new Option('--min-dialect <dialect>', 'the oldest dialect that is spoken')
      .choices(['2.0.2', '2.1', '3.0', '3.0.2', '3.1.1'])
      .default('3.0'),
  )
  .option('--anonymous-ipc', 'let who gives no name and password list the shares', false)
  .option(
    '--lease-duration <duration>',
    'how long a server may be silent before others take its handles',
    duration,
    5_000,
  )
  .addOption(
    new Option('--durability <mode>', 'of the handle state').choices(['Always', 'EverySecond']).default('Always'),
  )
  .option(
    '--store <file>',
    'JSON that names a Redis which is there already, instead of a private one: {"mode": "Standalone", "Sentinel" or "Cluster", "addresses": ["HOST:PORT"], "durability": {"mode": "Always"}}; docs/store.md has all of it',
  )
  .option('--store-password-file <file>', 'file with the password of that Redis')
  .option('--state-dir <dir>', 'where store, sockets and keys are kept (default: a folder that is removed at the end)')
  .action(run);

await program.parseAsync();

async function run(directory: string, flags: Flags): Promise<void> {
  const log = createLogger('serve');
  const stopped = new AbortController();
  let state: string | undefined;
  let cluster: LocalCluster | undefined;
  try {
    const shared = resolve(directory);
    assertFolder(shared);
    const users = parseUsers(flags.user);
    if (users.size === 0) {
      const password = randomBytes(9).toString('base64url');
      users.set('holdfast', password);
      process.stderr.write(`user holdfast, password ${password} (choose your own with --user NAME:PASSWORD)\n`);
    }
    state = flags.stateDir ? resolve(flags.stateDir) : mkdtempSync(join(tmpdir(), 'holdfast-'));
    mkdirSync(state, { recursive: true, mode: 0o700 });
    const { store: _file, storePasswordFile: _passwordFile, ...plain } = flags;
    cluster = new LocalCluster(
      {
        ...plain,
        ...storeOf(flags),
        directory: shared,
        ...sharesOf(flags),
        users,
        leaseDurationMs: flags.leaseDuration,
        stateDirectory: state,
      },
      log,
    );
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => stopped.abort(new HoldfastError('STOPPED', `stopped by ${signal}`)));
    }
    await cluster.start(stopped.signal, READY_WITHIN_MS);
    process.stdout.write(`ready ${cluster.addresses.join(' ')}\n`);
    if (!stopped.signal.aborted) {
      await new Promise((wake) => stopped.signal.addEventListener('abort', wake, { once: true }));
    }
    log.info('stopping');
  } catch (error) {
    if (!stopped.signal.aborted) {
      process.stderr.write(`holdfast serve: ${reasonOf(error)}\n`);
      process.exitCode = 1;
    }
  } finally {
    await cluster?.stop();
    if (state && !flags.stateDir) rmSync(state, { recursive: true, force: true });
  }
  // Signal handlers and timers of libraries must not keep a finished process alive.
  process.exit();
}

function storeOf({ store, storePasswordFile }: Flags): Pick<LocalClusterOptions, 'store'> {
  if (store === undefined) return {};
  const passwordFile = storePasswordFile === undefined ? undefined : resolve(storePasswordFile);
  return { store: { config: readStoreConfig(store), passwordFile } };
}

function sharesOf({ share, accessBasedEnumeration }: Flags): Pick<LocalClusterOptions, 'shareNames' | 'accessBased'> {
  const shareNames = share.length > 0 ? share : ['share'];
  const folded = shareNames.map((name) => name.toLowerCase());
  const twice = shareNames.find((_, i) => folded.indexOf(folded[i] ?? '') !== i);
  if (twice !== undefined) throw new HoldfastError('SHARE', `--share ${twice}: there is one of this name already`);
  const unknown = accessBasedEnumeration.find((name) => !shareNames.includes(name));
  if (unknown !== undefined) {
    throw new HoldfastError('SHARE', `--access-based-enumeration ${unknown}: there is no --share of this name`);
  }
  return { shareNames, accessBased: accessBasedEnumeration };
}

function assertFolder(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found?.isDirectory()) {
    throw new HoldfastError(
      'NO_FOLDER',
      `cannot share ${path}: ${found ? 'it is not a folder' : 'there is no such folder'}`,
    );
  }
}

function parseUsers(pairs: string[]): Map<string, string> {
  const users = new Map<string, string>();
  for (const pair of pairs) {
    const colon = pair.indexOf(':');
    const name = pair.slice(0, colon);
    if (colon < 1 || /[/\0]/.test(name) || name.startsWith('.')) {
      throw new HoldfastError(
        'BAD_USER',
        'a --user cannot be used: write NAME:PASSWORD, the name without "/" and not beginning with "."',
      );
    }
    users.set(name, pair.slice(colon + 1));
  }
  return users;
}

function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < min || value > max)
      throw new InvalidArgumentError(`must be a whole number from ${min} to ${max}`);
    return value;
  };
}

function duration(text: string): number {
  try {
    const ms = parseDurationMs(text);
    if (ms < 1000) throw new RangeError('must be at least 1s');
    return ms;
  } catch (error) {
    throw new InvalidArgumentError(reasonOf(error));
  }
}
