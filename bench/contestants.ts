import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Smbd } from '../test/integration/smbd.ts';
import { PASSWORD, Serving, USER } from '../test/serving.ts';
import { descendantsNamed } from './cpu-time.ts';
import type { Target } from './load.ts';
import { raisePriorityOf } from './priority.ts';
import type { Profilable } from './profile.ts';
import { DATA_FILE, DATA_FILE_BYTES, fileName, MOST_FILES } from './workloads.ts';

/** A server that is measured. */
export interface Contestant {
  name: string;
  target: Target;
  /** Its processes by what they do. */
  processes(): Record<string, number[]>;
  /** For a CPU profile of one of them; undefined when that is not a Node process. */
  profilable(part: string): Profilable | undefined;
  stop(): Promise<void>;
}

/** `holdfast serve` with one server. @param fill puts the files that are needed into the share */
export async function startHoldfast(flags: string[], fill: (directory: string) => void): Promise<Contestant> {
  const serving = await startServing({ flags });
  fill(serving.directory);
  const [address = ''] = serving.addresses;
  const [host = '', port = ''] = address.split(':');
  return {
    name: 'holdfast',
    target: { address: { host, port: Number(port) }, user: USER, password: PASSWORD, share: 'share' },
    processes: () => ({
      fileserver: [serving.pid('fileserver-0')],
      sidecar: [serving.pid('sidecar-0')],
      redis: [serving.pid('redis')],
    }),
    profilable: (part) => ({
      pid: serving.pid(`${part}-0`),
      lines: () => serving.log.map((line) => line.msg ?? ''),
    }),
    stop: () => serving.stop(),
  };
}

/** Starts `holdfast serve` so that its processes can be profiled. */
export async function startServing(options: { servers?: number; flags?: string[] }): Promise<Serving> {
  const before = process.env.NODE_OPTIONS;
  // Any free port when the inspector is asked for, as there are several processes.
  process.env.NODE_OPTIONS = `${before ?? ''} --inspect-port=0`;
  try {
    return await Serving.start(options);
  } finally {
    if (before === undefined) delete process.env.NODE_OPTIONS;
    else process.env.NODE_OPTIONS = before;
  }
}

/** Debian's smbd as it comes, with 3.1.1 alone. undefined where there is none. @param extra lines of the [global] section */
export async function startSmbd(extra: string[], fill: (directory: string) => void): Promise<Contestant | undefined> {
  if (!Smbd.isInstalled()) return undefined;
  const smbd = await Smbd.start(['server min protocol = SMB3_11', ...extra]);
  fill(smbd.directory);
  for (const pid of descendantsNamed(process.pid, 'smbd')) raisePriorityOf(pid);
  return {
    name: 'smbd',
    target: {
      address: { host: '127.0.0.1', port: smbd.port },
      user: smbd.user,
      password: smbd.password,
      share: 'share',
    },
    processes: () => ({ fileserver: descendantsNamed(process.pid, 'smbd') }),
    profilable: () => undefined,
    stop: () => smbd.stop(),
  };
}

/** The files that the workloads of rates use. */
export function fillForRates(directory: string): void {
  for (let i = 0; i < MOST_FILES; i++) writeFileSync(join(directory, fileName(i)), 'x', { mode: 0o666 });
  writeFileSync(join(directory, DATA_FILE), randomBytes(DATA_FILE_BYTES), { mode: 0o666 });
}
