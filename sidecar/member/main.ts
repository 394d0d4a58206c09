import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { Command } from 'commander';
import { Registry } from 'prom-client';
import { reasonOf } from '../../common/errors.ts';
import { createLogger } from '../../common/logging.ts';
import { serveMetrics } from '../../common/metrics.ts';
import { readTlsMaterial, storeConnection } from '../../common/tls.ts';
import { handOver } from './hand-over.ts';
import { Keeper } from './keeper.ts';
import { asked } from './local.ts';
import { type Membership, ordinalOf, parseMembers } from './members.ts';

interface Flags {
  name: string;
  members: string;
  pod: string;
  settingsDir: string;
  folder?: string;
  tlsDir?: string;
  health: string;
}

/** What a failover that was asked for takes at most; the pod's grace period is longer. */
const HAND_OVER_MS = 15_000;
/** As the operator sets both up. */
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26379;

const program = new Command('holdfast store').description(
  'Looks after one member of an embedded store: a Redis, and the Sentinel beside it.',
);

const common = (command: Command): Command =>
  command
    .requiredOption('--members <list>', 'HOST:PORT/SENTINELPORT of every member, or HOST:PORT of a single one')
    .option('--pod <name>', 'name of this pod; its number at the end says which member this is', hostname())
    .option('--name <name>', 'what the Sentinels call the primary', 'holdfast')
    .requiredOption('--settings-dir <folder>', 'the mounted Secret: redis.conf, sentinel.conf, password, accepted')
    .option('--tls-dir <folder>', 'ca.crt, tls.crt and tls.key of the members, which speak TLS alone then');

common(program.command('keep'))
  .description('Writes the files that Redis and Sentinel start with, and passes on new passwords and certificates.')
  .option(
    '--folder <folder>',
    'where these files lie, on the volume of this member; without it Redis reads the Secret itself',
  )
  .option('--health <host:port>', 'serve /livez and /readyz there', '0.0.0.0:9448')
  .action(keep);

common(program.command('hand-over'))
  .description('Has another member become the primary, if this one is; before it ends.')
  .action(handOverNow);

program
  .command('info')
  .description('Prints what the Redis of this pod says about itself (INFO), or its Sentinel.')
  .argument('[section]', 'such as memory, replication, persistence; all when left out')
  .option('--sentinel', 'ask the Sentinel')
  .option('--port <port>', 'where it listens on this machine (6379, a Sentinel 26379)', Number)
  .option('--settings-dir <folder>', 'the mounted Secret', '/etc/redis')
  .option('--tls-dir <folder>', 'the certificates by which they are spoken to, if they are there', '/etc/redis-tls')
  .action(info);

await program.parseAsync();

function membershipOf({ name, members, pod }: Flags): Membership {
  const parsed = parseMembers(members);
  return { name, members: parsed, own: ordinalOf(pod, parsed.length) };
}

function connectionOf(tlsDir: string | undefined): ConnectionOptions | undefined {
  return tlsDir === undefined ? undefined : storeConnection(readTlsMaterial(tlsDir));
}

async function keep(flags: Flags): Promise<void> {
  const log = createLogger('store-keeper', { pod: flags.pod });
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort(new Error(signal)));
  try {
    const keeper = new Keeper({
      membership: membershipOf(flags),
      settingsDir: flags.settingsDir,
      folder: flags.folder,
      tlsDir: flags.tlsDir,
      log,
    });
    const server = await serveMetrics(flags.health, new Registry(), {
      live: () => true,
      ready: () => keeper.readiness,
    });
    await keeper.prepare();
    await keeper.run(stop.signal);
    await server.close();
    process.exit(0);
  } catch (error) {
    log.fatal({ reason: reasonOf(error) }, 'cannot look after the store');
    process.exit(1);
  }
}

async function info(
  section: string | undefined,
  { sentinel, port, settingsDir, tlsDir }: { sentinel?: true; port?: number; settingsDir: string; tlsDir: string },
): Promise<void> {
  try {
    const tls = connectionOf(existsSync(join(tlsDir, 'tls.crt')) ? tlsDir : undefined);
    const address = { host: '127.0.0.1', port: port ?? (sentinel ? SENTINEL_PORT : REDIS_PORT), tls };
    const password = readFileSync(join(settingsDir, 'password'), 'utf8').trimEnd();
    const answer = await asked(address, [password], (redis) => (section ? redis.info(section) : redis.info()));
    if (answer === undefined) throw new Error(`nobody at port ${address.port} takes the password of ${settingsDir}`);
    process.stdout.write(answer);
  } catch (error) {
    process.stderr.write(`holdfast store: ${reasonOf(error)}\n`);
    process.exitCode = 1;
  }
}

async function handOverNow(flags: Flags): Promise<void> {
  const log = createLogger('store-keeper', { pod: flags.pod });
  try {
    const password = readFileSync(join(flags.settingsDir, 'password'), 'utf8').trimEnd();
    await handOver(membershipOf(flags), [password], connectionOf(flags.tlsDir), HAND_OVER_MS, log);
  } catch (error) {
    log.warn({ reason: reasonOf(error) }, 'cannot hand the primary over');
  }
  process.exit(0); // what could not be handed over must not keep the pod
}
