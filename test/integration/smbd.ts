import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A private smbd of Debian's Samba on a loopback port: another implementation to test the client against. Needs root. */
export class Smbd {
  readonly port: number;
  /** The folder behind the share `share`. */
  readonly directory: string;
  readonly user = 'root';
  readonly password = 'smbd test 1';
  readonly #root: string;
  readonly #child: ChildProcess;

  private constructor(port: number, root: string, directory: string, child: ChildProcess) {
    this.port = port;
    this.#root = root;
    this.directory = directory;
    this.#child = child;
  }

  static isInstalled(): boolean {
    return process.getuid?.() === 0 && spawnSync('smbd', ['--version']).status === 0;
  }

  /** @param extra further lines of the [global] section */
  static async start(extra: readonly string[] = []): Promise<Smbd> {
    const root = mkdtempSync(join(tmpdir(), 'holdfast-smbd-'));
    const directory = join(root, 'share');
    for (const name of ['share', 'lock', 'private', 'state', 'cache', 'pid', 'ncalrpc', 'log'])
      mkdirSync(join(root, name));
    chmodSync(directory, 0o777);
    const port = await freePort();
    const conf = join(root, 'smb.conf');
    writeFileSync(
      conf,
      [
        '[global]',
        `smb ports = ${port}`,
        'interfaces = 127.0.0.1',
        'bind interfaces only = yes',
        'workgroup = HOLDFAST',
        'server role = standalone server',
        'disable netbios = yes',
        'load printers = no',
        'log level = 1',
        `log file = ${root}/log/smbd.log`,
        `lock directory = ${root}/lock`,
        `private dir = ${root}/private`,
        `state directory = ${root}/state`,
        `cache directory = ${root}/cache`,
        `pid directory = ${root}/pid`,
        `ncalrpc dir = ${root}/ncalrpc`,
        ...extra,
        '[share]',
        `path = ${directory}`,
        'read only = no',
        'kernel oplocks = no',
        'kernel share modes = no',
        'posix locking = no',
        '[secret]',
        `path = ${directory}`,
        'read only = no',
        'smb encrypt = required',
        '',
      ].join('\n'),
    );
    const password = 'smbd test 1';
    const added = spawnSync('smbpasswd', ['-c', conf, '-s', '-a', 'root'], { input: `${password}\n${password}\n` });
    if (added.status !== 0) throw new Error(`smbpasswd: ${added.stderr}`);
    // In a process group of its own: when smbd ends it ends its whole group.
    const child = spawn('smbd', ['-F', '--no-process-group', '-s', conf], { stdio: 'ignore', detached: true });
    const smbd = new Smbd(port, root, directory, child);
    try {
      await accepts(port);
    } catch (error) {
      await smbd.stop();
      throw error;
    }
    return smbd;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const gone = new Promise((resolve) => this.#child.once('exit', resolve));
      this.#child.kill('SIGTERM');
      await gone;
    }
    // The RPC services live in a session of their own, and note their process id.
    for (const name of readdirSync(join(this.#root, 'pid'))) {
      const pid = Number(readFileSync(join(this.#root, 'pid', name), 'utf8'));
      if (pid > 1 && existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGTERM');
    }
    rmSync(this.#root, { recursive: true, force: true });
  }
}

export async function freePort(host = '127.0.0.1'): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function accepts(port: number): Promise<void> {
  const endMs = performance.now() + 20_000;
  for (;;) {
    const connected = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', () => resolve(false));
    });
    if (connected) return;
    if (performance.now() > endMs) throw new Error(`smbd does not listen on ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
