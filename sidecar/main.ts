import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { Command } from 'commander';
import { readClusterConfig } from '../common/config.ts';
import { HoldfastError, reasonOf } from '../common/errors.ts';
import { createLogger, type Logger } from '../common/logging.ts';
import { serveMetrics } from '../common/metrics.ts';
import { followLogLevel } from './log-level.ts';
import { Sidecar } from './sidecar.ts';

interface Flags {
  config: string;
  runDir: string;
  listen: string;
  advertise: string;
  tlsDir: string;
  serverId: string;
  pod?: string;
  node?: string;
  storePasswordFile?: string;
  metrics?: string;
  newStore: boolean;
}

async function main(): Promise<void> {
  const flags = new Command('holdfast sidecar')
    .description("Keeps the handles of the file servers of one pod in the cluster's store, and hands them over.")
    .requiredOption('--config <file>', "the cluster's config.json")
    .requiredOption('--run-dir <dir>', 'folder shared with the file servers: sidecar.sock, lock files')
    .option('--listen <host:port>', 'for the other sidecars and the operator', '0.0.0.0:7445')
    .requiredOption('--advertise <host:port>', 'where they reach this sidecar')
    .requiredOption('--tls-dir <dir>', 'folder with ca.crt, tls.crt and tls.key')
    .option('--server-id <id>', 'UID of the pod', randomUUID())
    .option('--pod <name>', 'name of the pod')
    .option('--node <name>', 'name of its node')
    .option('--store-password-file <file>', 'file that holds the password of the store')
    .option('--metrics <host:port>', 'serve /metrics, /livez and /readyz there')
    .option('--new-store', "the store was set up just now: wait for nobody's state", false)
    .parse()
    .opts<Flags>();
  const log = createLogger('sidecar', { serverId: flags.serverId, ...(flags.pod ? { pod: flags.pod } : {}) });
  const config = readClusterConfig(flags.config);
  followLogLevel(flags.config, config, log);
  const sidecar = new Sidecar({
    config,
    runDir: flags.runDir,
    listen: flags.listen,
    advertise: flags.advertise,
    tlsDir: flags.tlsDir,
    serverId: flags.serverId,
    pod: flags.pod ?? hostname(),
    node: flags.node ?? '',
    storePassword: passwordSource(flags.storePasswordFile, log),
    newStore: flags.newStore,
    log,
  });
  await sidecar.start();
  const metrics = flags.metrics
    ? await serveMetrics(flags.metrics, sidecar.metrics.registry, sidecar.health())
    : undefined;
  let ending = false;
  const end = (signal: string) => {
    if (ending) return;
    ending = true;
    log.info({ signal }, 'the sidecar ends');
    void sidecar
      .stop()
      .then(() => metrics?.close())
      .then(() => process.exit(0));
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}

/**
 * The password as the file has it now. Once it was read, a file that cannot be read for a moment (it is being replaced) is no reason to
 * end: the connections that stand need no password.
 */
function passwordSource(path: string | undefined, log: Logger): () => string | undefined {
  if (path === undefined) return () => undefined;
  let last: string;
  try {
    last = readPassword(path);
  } catch (error) {
    throw new HoldfastError('PASSWORD', `cannot read the store's password from ${path}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  return () => {
    try {
      last = readPassword(path);
    } catch (error) {
      log.warn({ reason: reasonOf(error), path }, "the store's password cannot be read anew; the last one is used");
    }
    return last;
  };
}

function readPassword(path: string): string {
  return readFileSync(path, 'utf8').replace(/\r?\n$/, '');
}

main().catch((error: unknown) => {
  createLogger('sidecar').fatal({ err: error }, reasonOf(error));
  process.exit(1);
});
