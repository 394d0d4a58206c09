// A load generator in a process of its own: told by messages what to do, it answers with what it measured.
import type { Link } from '../client/file/link.ts';
import { SigningAlgorithmId } from '../smb/constants.ts';
import { connect, type Issue, type LoadResult, prepare, runLoad, type Target } from './load.ts';
import type { Workload } from './workloads.ts';

export type LoadOrder = { do: 'prepare'; target: Target; workload: Workload } | { do: 'run'; seconds: number };
export type LoadAnswer =
  | { did: 'prepare'; protection: string }
  | { did: 'run'; result: LoadResult }
  | { did: 'fail'; reason: string };

let link: Link;
let issue: Issue;
let inFlight = 1;

process.on('message', (order: LoadOrder) => {
  carryOut(order).then(
    (answer) => process.send?.(answer),
    (error: unknown) => process.send?.({ did: 'fail', reason: (error as Error).stack ?? String(error) }),
  );
});
process.on('disconnect', () => process.exit());

async function carryOut(order: LoadOrder): Promise<LoadAnswer> {
  if (order.do === 'prepare') {
    link = await connect(order.target);
    issue = await prepare(link, order.workload);
    inFlight = order.workload.inFlight;
    return { did: 'prepare', protection: protectionOf(link) };
  }
  return { did: 'run', result: await runLoad(issue, inFlight, order.seconds) };
}

function protectionOf({ connection }: Link): string {
  const { dialect, signingAlgorithm } = connection.negotiated;
  const name = Object.entries(SigningAlgorithmId).find(([, id]) => id === signingAlgorithm)?.[0] ?? 'unknown';
  return `SMB 0x${dialect.toString(16)}, signed with ${name}`;
}
