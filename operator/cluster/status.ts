import type { V1Service, V1StatefulSet } from '@kubernetes/client-node';
import type { FileServerCluster, FileServerClusterStatus } from '../../crds/generated/fileservercluster.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';
import { isFinished } from '../migration/plan.ts';
import { isPaused, LABELS, nameOf, namesOf, namespaceOf, PAUSED_ANNOTATION, selectorOf } from '../resources/names.ts';
import { hasEmbeddedStore, speaksTls, storeMembers } from '../resources/redis.ts';
import { type Condition, mergeConditions, type NewCondition } from '../runtime/conditions.ts';
import type { PodFacts } from './pods.ts';
import type { Problem } from './prerequisites.ts';
import { countHandles, type Report } from './reports.ts';

/** How long after the first pod was made a store that does not answer yet is no reason to worry. */
const STARTING_MS = 60_000;

export interface StatusInput {
  cluster: FileServerCluster;
  /** Hash of the newest pod template. */
  newest: string;
  pods: readonly PodFacts[];
  redisPods: readonly PodFacts[];
  statefulSet: V1StatefulSet | undefined;
  service: V1Service | undefined;
  /** All of the cluster. */
  services: readonly V1Service[];
  migrations: readonly HandleMigration[];
  /** By pod UID. */
  reports: ReadonlyMap<string, Report>;
  problems: readonly Problem[];
  /** What the API server said when it refused an object of ours. */
  refused: string | undefined;
  watchesNodes: boolean;
  /** RFC 3339 */
  now: string;
}

/** So many shares that cannot be served are named. */
const MOST_TROUBLES = 5;

/** The status that describes what was seen. */
export function clusterStatus(input: StatusInput): FileServerClusterStatus {
  const { cluster, pods, migrations, now } = input;
  const living = pods.filter((pod) => !pod.ended);
  const members = living.filter((pod) => !pod.leaving && !pod.terminating);
  const servers = living.map((pod) => serverStatus(pod, input.reports.get(pod.uid)));
  const replies = living.flatMap((pod) => input.reports.get(pod.uid)?.reply ?? []);
  const counts = replies.map(countHandles);
  const failed = migrations.filter((hm) => hm.status?.phase === 'Failed').length;
  const finished = migrations.filter(isFinished).length;
  const addresses = addressesOf(cluster, input.service);
  return {
    observedGeneration: cluster.metadata.generation,
    conditions: mergeConditions(
      (cluster.status?.conditions ?? []) as Condition[],
      [available(input), progressing(input, members), degraded(input), stateStoreReady(input)],
      cluster.metadata.generation,
      now,
    ),
    replicas: members.length,
    readyReplicas: members.filter((pod) => pod.ready).length,
    selector: Object.entries({ ...selectorOf(nameOf(cluster), 'fileserver'), [LABELS.member]: 'true' })
      .map(([key, value]) => `${key}=${value}`)
      .join(','),
    servers,
    handles: {
      open: counts.reduce((sum, count) => sum + count.open, 0),
      disconnected: counts.reduce((sum, count) => sum + count.disconnected, 0),
    },
    addresses: addresses.list,
    ...(cluster.spec.service.perServer ? { serverAddresses: serverAddressesOf(cluster, input.services) } : {}),
    addressState: addresses.pending ? 'Pending' : 'Assigned',
    cordonTrigger: !cluster.spec.migration.onCordon ? 'Disabled' : input.watchesNodes ? 'Active' : 'NotPermitted',
    ...(hasEmbeddedStore(cluster) ? { storeTLS: speaksTls(cluster) ? 'Required' : 'Off' } : {}),
    migrations: { active: migrations.length - finished, completed: finished - failed, failed },
  };
}

function serverStatus(
  pod: PodFacts,
  report: Report | undefined,
): NonNullable<FileServerClusterStatus['servers']>[number] {
  const reply = report?.reply;
  const counts = reply ? countHandles(reply) : pod.started ? undefined : { sessions: 0, open: 0 };
  const epoch = reply?.servers.reduce((highest, server) => Math.max(highest, Number(server.identity?.epoch ?? 0)), 0);
  return {
    pod: pod.name,
    ...(pod.node ? { node: pod.node } : {}),
    phase: phaseOf(pod, report),
    ...(epoch ? { epoch } : {}),
    ...(counts ? { sessions: counts.sessions, handles: counts.open } : {}),
  };
}

function phaseOf(pod: PodFacts, report: Report | undefined): string {
  if (pod.node === '') return 'Pending';
  if (!pod.nodeReady) return 'Unreachable';
  if (pod.terminating) return 'Draining';
  if (pod.leaving) return 'Leaving';
  if (!pod.ready) return 'Starting';
  if (report?.error !== undefined) return 'Unreachable';
  return report?.reply?.servers.some((server) => server.state === 'draining') ? 'Draining' : 'Active';
}

function available({ pods, cluster }: StatusInput): NewCondition {
  const ready = pods.filter((pod) => pod.ready && !pod.terminating).length;
  if (ready > 0) {
    return {
      type: 'Available',
      status: 'True',
      reason: 'ServersReady',
      message: `${ready} of ${cluster.spec.replicas} file servers accept clients`,
    };
  }
  if (cluster.spec.replicas === 0) {
    return {
      type: 'Available',
      status: 'False',
      reason: 'ScaledToZero',
      message: 'spec.replicas is 0; set it to 2 or more to serve clients',
    };
  }
  return {
    type: 'Available',
    status: 'False',
    reason: 'NoServerReady',
    message:
      'no file server accepts clients yet; the conditions Degraded and StateStoreReady say why, if it is not just starting',
  };
}

function progressing(
  { cluster, newest, migrations, problems }: StatusInput,
  members: readonly PodFacts[],
): NewCondition {
  const { replicas } = cluster.spec;
  const active = migrations.filter((hm) => !isFinished(hm));
  const old = members.filter((pod) => pod.template !== newest).length;
  const ready = members.filter((pod) => pod.ready).length;
  const busy = (reason: string, message: string): NewCondition => ({
    type: 'Progressing',
    status: 'True',
    reason,
    message,
  });
  if (isPaused(cluster)) {
    return {
      type: 'Progressing',
      status: 'False',
      reason: 'Paused',
      message: `the operator changes nothing: the annotation ${PAUSED_ANNOTATION} is "true"; take it off to go on`,
    };
  }
  if (problems.length > 0 && members.length === 0) {
    return {
      type: 'Progressing',
      status: 'False',
      reason: 'Waiting',
      message: 'waits for what the condition Degraded names',
    };
  }
  if (old > 0) return busy('Upgrading', `${old} of ${members.length} file servers are still of an older template`);
  if (active.length > 0) {
    return busy(
      'Migrating',
      `moving handles off ${active
        .map((hm) => hm.spec.source)
        .slice(0, 5)
        .join(', ')}`,
    );
  }
  if (members.length !== replicas) return busy('Scaling', `${members.length} of ${replicas} file servers exist`);
  if (ready < replicas) return busy('Starting', `${ready} of ${replicas} file servers are ready`);
  return {
    type: 'Progressing',
    status: 'False',
    reason: 'UpToDate',
    message: 'all file servers are as the spec wants them',
  };
}

function degraded(input: StatusInput): NewCondition {
  const say = (reason: string, message: string): NewCondition => ({
    type: 'Degraded',
    status: 'True',
    reason,
    message,
  });
  const [problem, ...more] = input.problems;
  if (problem) {
    return say(problem.reason, [problem, ...more].map((each) => each.message).join('; '));
  }
  if (input.refused) return say('ObjectRefused', `the API server refused an object of this cluster: ${input.refused}`);
  const store = stateStoreReady(input);
  const starting = !input.pods.some((pod) => pod.ready || Date.parse(input.now) - pod.createdMs > STARTING_MS);
  if (store.status === 'False' && !starting) return say(store.reason, store.message);
  const redis = storeMembers(input.cluster) > 1 ? failingRedis(input) : undefined;
  if (redis && !starting) {
    return say(
      'RedisMemberFailing',
      `pod ${redis.name}: ${redis.problem ?? `its node ${redis.node} does not answer`}; the store has no member to spare; see: kubectl describe pod ${redis.name}`,
    );
  }
  const troubled = input.pods.filter((pod) => pod.problem !== undefined && !pod.terminating && !pod.ended);
  const first = troubled[0];
  if (first) {
    const others = troubled.length > 1 ? ` (and ${troubled.length - 1} more)` : '';
    return say(
      'ServerFailing',
      `pod ${first.name}${others}: ${first.problem}; see: kubectl describe pod ${first.name}`,
    );
  }
  const lost = input.pods.filter((pod) => !pod.nodeReady && !pod.ended);
  if (lost.length > 0) {
    return say(
      'NodeNotReady',
      `${lost.map((pod) => `${pod.name} on ${pod.node}`).join(', ')}: the node does not answer; its handles are at other servers`,
    );
  }
  const replies = input.pods.filter((pod) => !pod.ended).flatMap((pod) => input.reports.get(pod.uid)?.reply ?? []);
  const troubles = new Set(replies.flatMap(({ servers }) => servers.flatMap((server) => server.troubles)));
  if (troubles.size > 0) {
    const [more, shown] = [troubles.size - MOST_TROUBLES, [...troubles].slice(0, MOST_TROUBLES)];
    return say('ShareUnavailable', `${shown.join('; ')}${more > 0 ? `; and ${more} more` : ''}`);
  }
  return { type: 'Degraded', status: 'False', reason: 'AsExpected', message: 'nothing is wrong' };
}

function failingRedis({ redisPods }: StatusInput): PodFacts | undefined {
  return redisPods.find((pod) => pod.problem !== undefined || (!pod.nodeReady && !pod.ended));
}

function stateStoreReady(input: StatusInput): NewCondition {
  const type = 'StateStoreReady';
  const replies = input.pods.filter((pod) => !pod.ended).flatMap((pod) => input.reports.get(pod.uid)?.reply ?? []);
  const refused = replies.find((reply) => !reply.storeReachable);
  const embedded = input.cluster.spec.state.embedded !== undefined;
  const troubled = embedded ? failingRedis(input) : undefined;
  // One of three may be missing: whether the store works the file servers say.
  if (troubled && storeMembers(input.cluster) === 1) {
    return {
      type,
      status: 'False',
      reason: 'RedisFailing',
      message: `pod ${troubled.name}: ${troubled.problem ?? `its node ${troubled.node} does not answer`}; see: kubectl describe pod ${troubled.name}`,
    };
  }
  if (refused) {
    return {
      type,
      status: 'False',
      reason: refused.storeRefusal === '' ? 'StoreUnreachable' : 'StoreRefused',
      message: refused.storeMessage || 'the file servers cannot reach Redis',
    };
  }
  if (replies.length > 0) {
    const reached = 'all file servers that answer reach the store';
    const hint =
      embedded && !speaksTls(input.cluster)
        ? ', in the clear: a cluster that is made anew has TLS to its store (state.embedded.tls)'
        : '';
    return { type, status: 'True', reason: 'Reachable', message: `${reached}${hint}` };
  }
  if (embedded && (input.statefulSet?.status?.readyReplicas ?? 0) === 0) {
    return {
      type,
      status: 'False',
      reason: 'RedisStarting',
      message: `the embedded Redis is not ready yet; see: kubectl get pod ${namesOf(nameOf(input.cluster)).redis}-0`,
    };
  }
  return { type, status: 'Unknown', reason: 'NobodyToAsk', message: 'no sidecar has answered yet' };
}

function addressesOf(cluster: FileServerCluster, service: V1Service | undefined): { list: string[]; pending: boolean } {
  const external = externalHosts(service);
  const list = [...external, insideHost(cluster, namesOf(nameOf(cluster)).clientService)];
  return {
    list: list.map((host) => withPort(cluster, host)),
    pending: cluster.spec.service.type === 'LoadBalancer' && external.length === 0,
  };
}

/** By slot: the address of its load balancer, or of the Service inside the cluster. */
function serverAddressesOf(cluster: FileServerCluster, services: readonly V1Service[]): string[] {
  return Array.from({ length: cluster.spec.replicas }, (_, slot) => {
    const name = namesOf(nameOf(cluster)).serverService(slot);
    const [external] = externalHosts(services.find(({ metadata }) => metadata?.name === name));
    return withPort(cluster, external ?? insideHost(cluster, name));
  });
}

function externalHosts(service: V1Service | undefined): string[] {
  return (service?.status?.loadBalancer?.ingress ?? []).flatMap((entry) => entry.hostname ?? entry.ip ?? []);
}

function insideHost(cluster: FileServerCluster, service: string): string {
  return `${service}.${namespaceOf(cluster)}.svc`;
}

function withPort(cluster: FileServerCluster, host: string): string {
  const { port } = cluster.spec.service;
  return port === 445 ? host : host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
