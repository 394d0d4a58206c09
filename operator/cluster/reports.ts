import { monotonicMs } from '../../common/time.ts';
import type { StatusReply } from '../../proto/generated/control.ts';
import type { Sidecars } from '../sidecars.ts';
import type { PodFacts } from './pods.ts';

/** What a pod's sidecar said when it was last asked, or why it did not. */
export interface Report {
  atMs: number;
  reply: StatusReply | undefined;
  error: string | undefined;
}

const TIMEOUT_MS = 2000;
const ASK_EVERY_MS = 2000;

/** Asks sidecars how they are, in the background: a silent one must not hold up decisions about the others. */
export class Reports {
  readonly #sidecars: Sidecars;
  readonly #reports = new Map<string, Map<string, Report>>();
  readonly #asking = new Map<string, { atMs: number; busy: boolean }>();

  constructor(sidecars: Sidecars) {
    this.#sidecars = sidecars;
  }

  /** The newest report of each pod, by its UID. */
  of(clusterUid: string): ReadonlyMap<string, Report> {
    return this.#reports.get(clusterUid) ?? new Map();
  }

  /** Handles by pod name, as far as known. */
  handles(clusterUid: string, pods: readonly PodFacts[]): Map<string, number> {
    const reports = this.of(clusterUid);
    return new Map(
      pods.flatMap((pod): [string, number][] => {
        const reply = reports.get(pod.uid)?.reply;
        return reply ? [[pod.name, countHandles(reply).open]] : [];
      }),
    );
  }

  /** Whether the pods of the cluster have been asked since this process began to look after it. */
  knows(clusterUid: string): boolean {
    return this.#reports.has(clusterUid);
  }

  /** Asks all pods that have an address, unless that was done just now. @param changed called when anything is different */
  refresh(clusterUid: string, pods: readonly PodFacts[], changed: () => void): void {
    const before = this.#asking.get(clusterUid);
    if (before?.busy || monotonicMs() - (before?.atMs ?? -ASK_EVERY_MS) < ASK_EVERY_MS) return;
    this.#asking.set(clusterUid, { atMs: monotonicMs(), busy: true });
    void this.#ask(clusterUid, pods).then((different) => {
      this.#asking.set(clusterUid, { atMs: monotonicMs(), busy: false });
      if (different) changed();
    });
  }

  forget(clusterUid: string): void {
    this.#reports.delete(clusterUid);
    this.#asking.delete(clusterUid);
  }

  async #ask(clusterUid: string, pods: readonly PodFacts[]): Promise<boolean> {
    const asked = pods.filter((pod) => pod.address !== '' && pod.started && !pod.ended);
    const answers = await Promise.all(
      asked.map(async (pod): Promise<[string, Report]> => {
        try {
          const reply = await this.#sidecars.status(clusterUid, pod.address, TIMEOUT_MS);
          return [pod.uid, { atMs: monotonicMs(), reply, error: undefined }];
        } catch (error) {
          const message = error instanceof Error ? error.message : String(error);
          return [pod.uid, { atMs: monotonicMs(), reply: undefined, error: message }];
        }
      }),
    );
    const next = new Map(answers);
    const different = !this.knows(clusterUid) || summary(next) !== summary(this.of(clusterUid));
    this.#reports.set(clusterUid, next);
    return different;
  }
}

/** The opens of a pod's servers. */
export function countHandles(reply: StatusReply): { open: number; disconnected: number; sessions: number } {
  const sum = { open: 0, disconnected: 0, sessions: 0 };
  for (const server of reply.servers) {
    sum.open += Number(server.opensActive);
    sum.disconnected += Number(server.opensDisconnected);
    sum.sessions += Number(server.sessions);
  }
  sum.disconnected += Number(reply.orphanedOpens);
  return sum;
}

function summary(reports: ReadonlyMap<string, Report>): string {
  return JSON.stringify(
    [...reports].map(([uid, { reply }]) => [
      uid,
      reply && [
        reply.storeReachable,
        reply.storeMessage,
        countHandles(reply),
        reply.servers.map((s) => [s.state, String(s.identity?.epoch), s.troubles]),
      ],
    ]),
  );
}
