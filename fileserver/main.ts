import { hostname } from 'node:os';
import { join } from 'node:path';
import { credentials, Metadata } from '@grpc/grpc-js';
import { Command, InvalidArgumentError } from 'commander';
import { reasonOf } from '../common/errors.ts';
import { createLogger } from '../common/logging.ts';
import { parseDurationMs } from '../common/time.ts';
import { type DrainReply, HandlesClient } from '../proto/generated/handles.ts';
import { FileServer, type FileServerOptions } from './file-server.ts';

/** A NetBIOS name has at most so many characters. */
const MAX_SERVER_NAME = 15;
/** What the answer to Drain may take beyond the time that the sidecar was given. */
const DRAIN_GRACE_MS = 5000;

const program = new Command('holdfast fileserver').description(
  'Serves the shares of a cluster over SMB3. Needs the sidecar that shares its run folder.',
);

program
  .command('serve', { isDefault: true })
  .description('Serves until SIGTERM (what it does without a command).')
  .requiredOption('--config <file>', 'configuration of the cluster (config.json)')
  .requiredOption('--run-dir <folder>', 'folder shared with the sidecar')
  .requiredOption('--users-dir <folder>', 'one file a user: its name is the user, its content the password')
  .option('--listen <host:port>', 'address to serve SMB on', '0.0.0.0:445')
  .requiredOption('--advertise <host:port>', 'where clients reach this process')
  .option('--metrics <host:port>', 'address of /metrics, /livez, /readyz', '0.0.0.0:9445')
  .option('--worker <name>', 'name of this process within its pod', '0')
  .option('--server-name <name>', 'name that clients are shown', defaultServerName())
  .action(serve);

program
  .command('drain')
  .description('Gives all handles of the file servers on this run folder away, and returns when that is done.')
  .requiredOption('--run-dir <folder>', 'folder shared with the sidecar')
  .option('--timeout <duration>', 'give up after', duration, parseDurationMs('55s'))
  .action(drain);

await program.parseAsync();

async function serve(options: FileServerOptions): Promise<void> {
  const log = createLogger('fileserver', { worker: options.worker });
  process.on('uncaughtException', (error) => log.error({ err: error }, 'an error that nobody caught'));
  process.on('unhandledRejection', (reason) => log.error({ err: reason }, 'a rejection that nobody handled'));
  try {
    const server = new FileServer(options, log);
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        server.stop().then(
          () => process.exit(0),
          (error) => {
            log.error({ err: error }, 'cannot stop cleanly');
            process.exit(1);
          },
        );
      });
    }
    await server.start();
  } catch (error) {
    log.fatal({ reason: reasonOf(error) }, 'cannot start');
    process.exit(1);
  }
}

async function drain({ timeout, runDir }: { timeout: number; runDir: string }): Promise<void> {
  const log = createLogger('fileserver');
  const client = new HandlesClient(`unix:${join(runDir, 'sidecar.sock')}`, credentials.createInsecure());
  try {
    const reply = await new Promise<DrainReply>((resolve, reject) => {
      const options = { deadline: Date.now() + timeout + DRAIN_GRACE_MS };
      client.drain({ timeoutMs: timeout }, new Metadata(), options, (error, answer) =>
        error ? reject(error) : resolve(answer),
      );
    });
    const { moved, released, left, message } = reply;
    log.info({ moved: Number(moved), released: Number(released), left: Number(left), message }, 'drained');
    if (left > 0n) process.exitCode = 1;
  } catch (error) {
    log.error({ reason: reasonOf(error) }, 'cannot drain: is the sidecar there?');
    process.exitCode = 1;
  } finally {
    client.close();
  }
}

function duration(text: string): number {
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw new InvalidArgumentError(reasonOf(error));
  }
}

function defaultServerName(): string {
  const name = (hostname().split('.')[0] ?? '').replace(/[^A-Za-z0-9-]/g, '').toUpperCase();
  return name.slice(0, MAX_SERVER_NAME) || 'HOLDFAST';
}
