import { randomBytes } from 'node:crypto';
import { parseAddress } from '../client/connect/address.ts';
import { ATTEMPT_TIMEOUT_MS } from '../client/connect/constants.ts';
import { Client, Connection, Session } from '../client/index.ts';
import { PASSWORD, USER } from '../test/serving.ts';
import { type BadServer, deadServer, silentServer, slowServer } from './bad-servers.ts';
import { startServing } from './contestants.ts';
import { describeMachine, machineText } from './machine.ts';
import { type BenchOptions, figure, printTable, saveResults, say } from './report.ts';
import { quantile } from './statistics.ts';

const DEFAULT_ROUNDS = 12;
const ADDRESSES = 4;
/** Of these, so many are bad. */
const BAD_COUNTS = [1, 3];
const SLOW_BY_MS = 1000;

type Way = (addresses: readonly string[]) => Promise<void>;

const KINDS: Record<string, (good: string) => Promise<BadServer>> = {
  dead: deadServer,
  silent: silentServer,
  slow: (good) => slowServer(good, SLOW_BY_MS),
};

const WAYS: Record<string, Way> = { 'in parallel': inParallel, 'one after another': oneAfterAnother };

/** Time to a connected share when some of the addresses are bad: the client's race against trying one after another. */
export async function connect(options: BenchOptions): Promise<void> {
  const machine = describeMachine();
  say(`connect: ${machineText(machine)}`);
  const rounds = options.rounds ?? DEFAULT_ROUNDS;
  const serving = await startServing({ servers: options.servers });
  const results = [];
  try {
    // A server that has just started with a new store lets nobody log on until a lease has passed.
    await inParallel(serving.addresses);
    results.push(...(await measure('none', 0, serving.addresses, [], rounds)));
    for (const kind of Object.keys(KINDS)) {
      if (options.only !== undefined && !kind.includes(options.only)) continue;
      for (const count of BAD_COUNTS) {
        const [good = ''] = serving.addresses;
        const bad = await Promise.all(Array.from({ length: count }, () => KINDS[kind]?.(good) as Promise<BadServer>));
        results.push(...(await measure(kind, count, serving.addresses, bad, rounds)));
        for (const server of bad) await server.stop();
      }
    }
  } finally {
    await serving.stop();
  }
  printTable(
    ['bad servers', 'way', 'median ms', 'p90 ms', 'max ms'],
    results.map(({ bad, way, ms }) => [bad, way, figure(ms.median), figure(ms.p90), figure(ms.max)]),
  );
  if (options.only === undefined) saveResults('connect', machine, results);
}

async function measure(kind: string, count: number, good: string[], bad: readonly BadServer[], rounds: number) {
  const timesMs = new Map(Object.keys(WAYS).map((way) => [way, [] as number[]]));
  const all = [
    ...bad.map(({ address }) => address),
    ...Array.from({ length: ADDRESSES - count }, (_, i) => good[i % good.length] ?? ''),
  ];
  for (let round = 0; round < rounds; round++) {
    // Both ways get the same addresses in the same order, and each address comes first equally often.
    const addresses = rotated(all, round);
    for (const [way, times] of timesMs) {
      const startMs = performance.now();
      await WAYS[way]?.(addresses);
      times.push(performance.now() - startMs);
    }
  }
  const label = count === 0 ? `none of ${ADDRESSES}` : `${count} of ${ADDRESSES} ${kind}`;
  return [...timesMs].map(([way, times]) => {
    const ms = { median: quantile(times, 0.5), p90: quantile(times, 0.9), max: Math.max(...times) };
    say(`${label}, ${way}: median ${figure(ms.median)} ms`);
    return { bad: label, way, rounds, ms };
  });
}

async function inParallel(addresses: readonly string[]): Promise<void> {
  const client = await Client.connect({ addresses, user: USER, password: PASSWORD, share: 'share' });
  await client.close();
}

/** As a client does that tries the next address when the one before has failed or timed out. */
async function oneAfterAnother(addresses: readonly string[]): Promise<void> {
  for (const address of addresses) {
    try {
      const signal = AbortSignal.timeout(ATTEMPT_TIMEOUT_MS);
      const options = { clientGuid: randomBytes(16), serverName: '127.0.0.1' };
      const connection = await Connection.open(parseAddress(address), options, signal);
      const session = await Session.establish(connection, { user: USER, password: PASSWORD });
      await session.treeConnect('share');
      await session.logoff();
      return;
    } catch {
      // The next one.
    }
  }
  throw new Error('no address answered');
}

function rotated<T>(values: readonly T[], by: number): T[] {
  const at = by % values.length;
  return [...values.slice(at), ...values.slice(0, at)];
}
