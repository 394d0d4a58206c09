import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readlinkSync } from 'node:fs';
import koffi from 'koffi';
import { eventually, run } from '../cluster/shell.ts';

const CLONE_NEWNET = 0x40000000;
const SOON_MS = 10_000;

/** Between which parts packets travel: every pod has one wire to each. */
export const WIRES = ['store', 'peers', 'clients'] as const;
export type Wire = (typeof WIRES)[number];

const SUBNET: Record<Wire, string> = { store: '10.91', peers: '10.92', clients: '10.93' };
const PREFIX = 16;
/** Where this process is in every subnet; pods follow. */
const OWN = 1;
/** Numbers are not used twice, so that nobody remembers another under one of them: a thousand schedules need hundreds. */
const MOST = 60_000;

/**
 * Network namespaces with a wire each to the store, to the other pods and to the clients. This process moves into a namespace of its
 * own, in which the store and the clients are; nothing reaches the machine's own network, and nothing is left behind when it ends,
 * however it ends.
 */
export class Network {
  readonly #outside: number;
  readonly #pods = new Set<PodNetwork>();
  #next = OWN + 1;

  private constructor(outside: number) {
    this.#outside = outside;
  }

  /** Needs root. To be left again before another is entered. */
  static async enter(): Promise<Network> {
    const outside = openSync('/proc/thread-self/ns/net', 'r');
    // Of this thread alone: it is the one that makes sockets and processes.
    const unshare = koffi.load(null).func('int unshare(int flags)') as (flags: number) => number;
    if (unshare(CLONE_NEWNET) !== 0) {
      closeSync(outside);
      throw new Error('a network namespace cannot be made: this needs root');
    }
    const network = new Network(outside);
    // With an address of its own: a bridge else takes the lowest of its ports', so that with a pod that comes or goes what everybody knows
    // of this end is wrong for half a minute.
    const bridges = WIRES.flatMap((wire, i) => [
      `link add ${wire} address 02:00:00:00:00:0${i + 1} type bridge`,
      `addr add ${network.own(wire)}/${PREFIX} dev ${wire}`,
      `link set ${wire} up`,
    ]);
    await ip(['link set lo up', ...bridges]);
    return network;
  }

  /** Back to the network that this process came from. */
  leave(): void {
    for (const pod of this.#pods) pod.remove();
    const setns = koffi.load(null).func('int setns(int fd, int type)') as (fd: number, type: number) => number;
    const failed = setns(this.#outside, CLONE_NEWNET) !== 0;
    closeSync(this.#outside);
    if (failed) throw new Error('there is no way back to the network of before');
  }

  /** This process' address on a wire. */
  own(wire: Wire): string {
    return addressOf(wire, OWN);
  }

  async addPod(): Promise<PodNetwork> {
    const host = this.#next++;
    if (host > MOST) throw new RangeError(`no more than ${MOST} pods are made in one network`);
    const pod = await PodNetwork.make(host, () => this.#pods.delete(pod));
    this.#pods.add(pod);
    return pod;
  }
}

/** The namespace of one pod. */
export class PodNetwork {
  readonly #host: number;
  /** Keeps the namespace while nothing else runs in it; the kernel kills it when this process ends. */
  readonly #holder: ChildProcess;
  readonly #onRemoved: () => void;

  private constructor(host: number, holder: ChildProcess, onRemoved: () => void) {
    this.#host = host;
    this.#holder = holder;
    this.#onRemoved = onRemoved;
  }

  /** @param host its number in every subnet */
  static async make(host: number, onRemoved: () => void): Promise<PodNetwork> {
    const own = readlinkSync('/proc/thread-self/ns/net');
    const command = ['--pdeathsig', 'KILL', '--', 'unshare', '--net', 'sleep', 'infinity'];
    const holder = spawn('setpriv', command, { stdio: 'ignore' });
    const pod = new PodNetwork(host, holder, onRemoved);
    const separate = () => readlinkSync(pod.#namespace) !== own || undefined;
    await eventually('a namespace for the pod', SOON_MS, separate, 2);
    await ip(
      WIRES.flatMap((wire) => [
        `link add ${pod.#port(wire)} type veth peer name ${wire} netns ${holder.pid}`,
        `link set ${pod.#port(wire)} master ${wire} up`,
      ]),
    );
    const inside = WIRES.flatMap((wire) => [
      `addr add ${pod.address(wire)}/${PREFIX} dev ${wire}`,
      `link set ${wire} up`,
    ]);
    await ip(['link set lo up', ...inside], pod.#namespace);
    return pod;
  }

  address(wire: Wire): string {
    return addressOf(wire, this.#host);
  }

  /** A command that runs `command` in this namespace. */
  inside(command: readonly string[]): string[] {
    return ['nsenter', `--net=${this.#namespace}`, '--', ...command];
  }

  /** Packets on these wires vanish without a word, in both directions. */
  cut(wires: readonly Wire[]): Promise<void> {
    return ip(wires.map((wire) => `link set ${this.#port(wire)} down`));
  }

  mend(wires: readonly Wire[] = WIRES): Promise<void> {
    return ip(wires.map((wire) => `link set ${this.#port(wire)} up`));
  }

  remove(): void {
    this.#holder.kill('SIGKILL');
    this.#onRemoved();
  }

  get #namespace(): string {
    return `/proc/${this.#holder.pid}/ns/net`;
  }

  /** Our end of a wire. */
  #port(wire: Wire): string {
    return `${wire}-${this.#host}`;
  }
}

function addressOf(wire: Wire, host: number): string {
  return `${SUBNET[wire]}.${host >> 8}.${host & 0xff}`;
}

async function ip(lines: string[], namespace?: string): Promise<void> {
  const command = ['ip', '-batch', '-'];
  const [program = '', ...args] = namespace ? ['nsenter', `--net=${namespace}`, ...command] : command;
  await run(program, args, { input: `${lines.join('\n')}\n` });
}
