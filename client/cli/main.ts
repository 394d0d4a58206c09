import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { SmbError } from '../errors.ts';
import { LEAST_BLOCK_BYTES } from './block.ts';
import { type ConnectOptions, connectTo, durationMs, withClient } from './connect.ts';
import { ExitCode, UsageError } from './errors.ts';
import { ClusterApi } from './kubernetes/api.ts';
import { check } from './kubernetes/check.ts';
import { addClusterCommands } from './kubernetes/commands.ts';
import { ClusterAccessError } from './kubernetes/errors.ts';
import { sizeText } from './progress.ts';
import { parseSmbUrl, URL_FORM } from './smb-url.ts';
import { download, upload } from './transfer.ts';
import { fromClient, fromDirectory, readReport, verifyBlocks } from './verify-blocks.ts';
import { saveReport, Writer } from './write-through.ts';

const program = new Command('holdfast')
  .description('SMB3 client that keeps files open while servers come and go, and starter of Holdfast servers.')
  .showHelpAfterError('(holdfast --help shows what there is)')
  .exitOverride()
  .addHelpText(
    'after',
    `
Addresses: ${URL_FORM}. With several hosts, or a name of several addresses, any that answers is used.
Passwords: the first line of --password-file, of the file that HOLDFAST_PASSWORD_FILE names, or a question.
Exit status: 0 done, 1 failed, 2 wrong use, 3 no server or API server reached, or refused there.

Other commands, each with a --help of its own:
  holdfast serve DIR ...     file servers for a folder of this machine, without Kubernetes
  holdfast fileserver, sidecar, operator     the parts of a cluster; Kubernetes starts them`,
  );

function smbCommand(name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option('--password-file <file>', 'file whose first line is the password')
    .option('--encrypt', 'encrypt even if the server does not demand it')
    .option('--timeout <duration>', 'how long an operation may take, failover included', '60s');
}

smbCommand('ls', 'list a folder')
  .argument('<address>', URL_FORM)
  .option('-l, --long', 'with size and time')
  .action(async (address: string, options: ConnectOptions & { long?: boolean }) => {
    await withClient(address, options, async (client, url) => {
      const entries = await client.list(url.path);
      entries.sort((a, b) => a.name.localeCompare(b.name));
      for (const entry of entries) {
        const name = entry.isDirectory ? `${entry.name}/` : entry.name;
        const size = entry.isDirectory ? '-' : String(entry.size);
        print(options.long ? `${size.padStart(14)}  ${entry.modified.toISOString()}  ${name}` : name);
      }
    });
  });

smbCommand('get', 'copy a file from the share')
  .argument('<address>', URL_FORM)
  .argument('[local]', 'file to write, - for standard output; default: the same name here')
  .action(async (address: string, local: string | undefined, options: ConnectOptions) => {
    await withClient(address, options, async (client, url) => {
      const bytes = await download(client, url.path, local ?? nameOf(url.path));
      if (process.stderr.isTTY) process.stderr.write(`${sizeText(bytes)} read\n`);
    });
  });

smbCommand('put', 'copy a file to the share')
  .argument('<local>', 'file to read, - for standard input')
  .argument('<address>', `${URL_FORM}; ending in / puts it into that folder`)
  .action(async (local: string, address: string, options: ConnectOptions) => {
    await withClient(address, options, async (client, url) => {
      const intoFolder = address.endsWith('/') || url.path === '';
      const target = intoFolder ? [url.path, nameOf(local)].filter((part) => part !== '').join('/') : url.path;
      const bytes = await upload(client, local, target);
      if (process.stderr.isTTY) process.stderr.write(`${sizeText(bytes)} written\n`);
    });
  });

smbCommand('rm', 'remove a file or an empty folder')
  .argument('<address>', URL_FORM)
  .action(async (address: string, options: ConnectOptions) => {
    await withClient(address, options, async (client, url) => {
      if (url.path === '') throw new UsageError('a whole share cannot be removed; name a path in it');
      await client.remove(url.path);
    });
  });

smbCommand('stat', 'show what is known of a file or folder, as JSON')
  .argument('<address>', URL_FORM)
  .action(async (address: string, options: ConnectOptions) => {
    await withClient(address, options, async (client, url) =>
      print(JSON.stringify(await client.stat(url.path), undefined, 2)),
    );
  });

smbCommand('shares', 'list the shares of the server')
  .argument('<address>', URL_FORM)
  .action(async (address: string, options: ConnectOptions) => {
    await withClient(address, options, async (client) => {
      for (const { name, comment } of await client.shares()) print(comment === '' ? name : `${name}\t${comment}`);
    });
  });

interface CheckCommandOptions extends ConnectOptions {
  cluster: string;
  namespace?: string;
  kubeconfig?: string;
  context?: string;
}

smbCommand(
  'check',
  'try a Kubernetes cluster: open a file, have it moved to another server while it is written, read it back',
)
  .argument('<address>', `${URL_FORM}; of the cluster's headless Service`)
  .requiredOption('--cluster <name>', 'the FileServerCluster')
  .option('-n, --namespace <name>', "its namespace; by default the kubeconfig context's")
  .option('--kubeconfig <file>', 'how to reach the API server; by default $KUBECONFIG, ~/.kube/config, or the pod')
  .option('--context <name>', "the kubeconfig's context to use")
  .action(async (address: string, options: CheckCommandOptions) => {
    const api = await ClusterApi.connect(options);
    const namespace = options.namespace ?? api.defaultNamespace;
    const withinMs = durationMs(options.timeout ?? '60s');
    await withClient(address, options, (client, url) =>
      check({ client, api, namespace, cluster: options.cluster, folder: url.path, withinMs, say: print }),
    );
  });

interface WriteThroughOptions extends ConnectOptions {
  handles: number;
  seconds: number;
  block: number;
  slots: number;
  report: string;
  prefix: string;
  progress: string;
  pauseAtEnd?: boolean;
}

smbCommand('write-through', 'write tagged blocks through many handles at once, each acknowledged before the next')
  .argument('<address>', URL_FORM)
  .option('--handles <n>', 'files written side by side', whole, 24)
  .option('--seconds <s>', 'how long; 0: until SIGTERM', whole, 60)
  .option('--block <bytes>', 'size of a block', whole, 4096)
  .option('--slots <n>', 'blocks of a file', whole, 1024)
  .requiredOption('--report <file>', 'where to write what was acknowledged')
  .option('--prefix <name>', 'name of the writer, begins the names of its files', 'writer')
  .option('--progress <kind>', 'text, json (a line a second) or none', 'text')
  .option('--pause-at-end', 'keep the handles open after the report is written, until SIGTERM')
  .action(async (address: string, options: WriteThroughOptions) => {
    if (options.block < LEAST_BLOCK_BYTES) throw new UsageError(`--block is at least ${LEAST_BLOCK_BYTES}`);
    if (options.handles < 1 || options.slots < 1) throw new UsageError('--handles and --slots are at least 1');
    const { client, url } = await connectTo(address, options);
    const stop = new AbortController();
    const terminated = new Promise<void>((resolve) => {
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.once(signal, () => {
          stop.abort();
          resolve();
        });
      }
    });
    const writer = await Writer.open(client, {
      writer: options.prefix,
      folder: url.path,
      share: url.share,
      handles: options.handles,
      blockBytes: options.block,
      slots: options.slots,
    });
    const tell = progressTeller(options.progress, writer);
    tell('ready');
    const ticker = setInterval(() => tell('progress'), 1000);
    const end = options.seconds > 0 ? setTimeout(() => stop.abort(), options.seconds * 1000) : undefined;
    await writer.run(stop.signal);
    clearTimeout(end);
    clearInterval(ticker);
    const report = writer.report();
    await saveReport(options.report, report);
    tell('done');
    if (options.pauseAtEnd) await terminated;
    await writer.close();
    await client.close();
    if (report.callerErrors > 0) process.exitCode = ExitCode.FAILED;
  });

function progressTeller(kind: string, writer: Writer): (event: string) => void {
  let before = { ackedBlocks: 0, elapsedMs: 0 };
  return (event) => {
    const { perHandle, ...now } = writer.takeProgress();
    const seconds = Math.max(0.001, (now.elapsedMs - before.elapsedMs) / 1000);
    const blocksPerSecond = Math.round((now.ackedBlocks - before.ackedBlocks) / seconds);
    before = now;
    if (kind === 'json') print(JSON.stringify({ event, ...now, blocksPerSecond, perHandle }));
    else if (kind === 'text') {
      print(
        `${event.padEnd(8)} ${(now.elapsedMs / 1000).toFixed(0).padStart(4)} s  ${now.ackedBlocks} blocks acknowledged, ${blocksPerSecond}/s, ` +
          `longest pause ${now.maxPauseMs} ms, ${now.failovers} failovers, ${now.callerErrors} errors, ${now.address ?? 'no server'}`,
      );
    }
  };
}

smbCommand('verify-blocks', 'compare what is on the volume with what write-through had acknowledged')
  .requiredOption('--report <file...>', 'reports of holdfast write-through')
  .option('--dir <folder>', "the share's folder on this machine")
  .option('--address <address>', `or over SMB: ${URL_FORM}`)
  .action(async (options: ConnectOptions & { report: string[]; dir?: string; address?: string }) => {
    const { dir, address } = options;
    if ((dir === undefined) === (address === undefined)) throw new UsageError('give either --dir or --address');
    const sum = { reports: 0, ackedBlocks: 0, ackedSlots: 0, verified: 0, lost: 0, torn: 0, problems: [] as string[] };
    for (const file of options.report) {
      const report = await readReport(file);
      const verdict =
        dir === undefined
          ? await withClient(addressFor(address), options, (client) => verifyBlocks(report, fromClient(client)))
          : await verifyBlocks(report, fromDirectory(dir));
      sum.reports++;
      sum.ackedBlocks += report.ackedBlocks;
      sum.ackedSlots += verdict.ackedSlots;
      sum.verified += verdict.verified;
      sum.lost += verdict.lost;
      sum.torn += verdict.torn;
      sum.problems.push(...verdict.problems);
    }
    print(JSON.stringify(sum));
    if (sum.lost > 0 || sum.torn > 0 || sum.verified !== sum.ackedSlots) process.exitCode = ExitCode.FAILED;
  });

addClusterCommands(program);

function addressFor(address: string | undefined): string {
  parseSmbUrl(address ?? '');
  return address ?? '';
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('a whole number is wanted');
  return value;
}

function nameOf(path: string): string {
  const name = path.split('/').findLast((part) => part !== '');
  if (name === undefined || name === '-') throw new UsageError('name the file: the path has no last part');
  return name;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

const NOT_CONNECTED = new Set([
  'CONNECT_FAILED',
  'NEGOTIATION_REFUSED',
  'STATUS_LOGON_FAILURE',
  'STATUS_BAD_NETWORK_NAME',
]);

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.OK : ExitCode.USAGE;
  if (error instanceof UsageError) return ExitCode.USAGE;
  if (error instanceof ClusterAccessError) return ExitCode.NOT_CONNECTED;
  if (!(error instanceof SmbError)) return ExitCode.FAILED;
  if (error.code === 'BAD_ADDRESS') return ExitCode.USAGE;
  const connecting = error.code === 'TIMED_OUT' && error.message.startsWith('connecting');
  return connecting || NOT_CONNECTED.has(error.code) ? ExitCode.NOT_CONNECTED : ExitCode.FAILED;
}

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (!(error instanceof CommanderError)) process.stderr.write(`holdfast: ${(error as Error).message}\n`);
  process.exitCode = exitCodeOf(error);
}
