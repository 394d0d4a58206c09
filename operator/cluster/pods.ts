import type { V1ContainerStatus, V1EndpointSlice, V1Node, V1Pod } from '@kubernetes/client-node';
import { LABELS, slotsOf } from '../resources/names.ts';
import { timeMs } from '../runtime/objects.ts';

/** What the operator needs to know of a file server's pod. */
export interface PodFacts {
  name: string;
  uid: string;
  node: string;
  address: string;
  /** Hash of the template it was made from. */
  template: string;
  /** Counted by its ReplicaSet. */
  member: boolean;
  /** Being replaced: it serves until its handles have moved, and then goes. */
  leaving: boolean;
  /** Offered by the Services while it is ready. */
  serving: boolean;
  /** Whose Services for single servers lead here. */
  slots: number[];
  ready: boolean;
  /** Has a deletion timestamp. */
  terminating: boolean;
  /** All its containers ended, for good. */
  ended: boolean;
  /** A file server process was once running in it. */
  started: boolean;
  /** The node is cordoned, or an autoscaler is about to remove it. */
  nodeLeaving: boolean;
  nodeReady: boolean;
  createdMs: number;
  deletionMs: number | undefined;
  /** Why it is being replaced. */
  leavingReason: string | undefined;
  /** Why it does not run, in words; undefined when nothing is wrong. */
  problem: string | undefined;
}

/** The annotation that says why a pod is being replaced. */
export const LEAVING_ANNOTATION = 'holdfast.dev/leaving';

/** Taints by which cluster autoscalers announce that a node goes away. */
const LEAVING_TAINTS = new Set([
  'ToBeDeletedByClusterAutoscaler',
  'karpenter.sh/disrupted',
  'karpenter.sh/disruption',
  'node.kubernetes.io/out-of-service',
]);

export function isNodeLeaving(node: V1Node | undefined): boolean {
  if (!node) return false;
  return node.spec?.unschedulable === true || (node.spec?.taints ?? []).some((taint) => LEAVING_TAINTS.has(taint.key));
}

export function isNodeReady(node: V1Node | undefined): boolean {
  const condition = node?.status?.conditions?.find((candidate) => candidate.type === 'Ready');
  return condition === undefined || condition.status === 'True';
}

/** @param node its node; undefined where the operator may not watch Nodes: then it counts as ready, and as staying */
export function podFacts(pod: V1Pod, node: V1Node | undefined, nowMs: number = Date.now()): PodFacts {
  const labels = pod.metadata?.labels ?? {};
  const leavingReason = pod.metadata?.annotations?.[LEAVING_ANNOTATION];
  const fileserver = pod.status?.containerStatuses?.find((status) => status.name === 'fileserver');
  return {
    name: pod.metadata?.name ?? '',
    uid: pod.metadata?.uid ?? '',
    node: pod.spec?.nodeName ?? '',
    address: pod.status?.podIP ?? '',
    template: labels[LABELS.template] ?? '',
    member: labels[LABELS.member] === 'true',
    leaving: leavingReason !== undefined || labels[LABELS.member] !== 'true',
    serving: labels[LABELS.serving] === 'true',
    slots: slotsOf(labels),
    ready: pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true,
    terminating: pod.metadata?.deletionTimestamp !== undefined,
    ended: hasEnded(pod),
    started: fileserver?.state?.running !== undefined || (fileserver?.restartCount ?? 0) > 0,
    nodeLeaving: isNodeLeaving(node),
    nodeReady: isNodeReady(node),
    createdMs: timeMs(pod.metadata?.creationTimestamp) ?? 0,
    deletionMs: timeMs(pod.metadata?.deletionTimestamp),
    leavingReason,
    problem: problemOf(pod, nowMs),
  };
}

/**
 * Whether Kubernetes shows that no container of the pod runs or will run again. A pod object that merely disappeared proves
 * nothing: it may have been deleted by force while its node was silent.
 */
export function hasEnded(pod: V1Pod): boolean {
  const statuses = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])];
  const allTerminated = statuses.length > 0 && statuses.every((status) => status.state?.terminated !== undefined);
  if (pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded') {
    // Pods that are evicted before they start have a phase and no container.
    return statuses.length === 0 || allTerminated;
  }
  return allTerminated && pod.metadata?.deletionTimestamp !== undefined;
}

const BAD_REASONS = new Set([
  'CrashLoopBackOff',
  'ImagePullBackOff',
  'ErrImagePull',
  'ErrImageNeverPull',
  'InvalidImageName',
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
]);

/** A pod that was just made may wait a little for its volume to be bound. */
const SCHEDULING_PATIENCE_MS = 10_000;

function problemOf(pod: V1Pod, nowMs: number): string | undefined {
  const unscheduled = pod.status?.conditions?.find((c) => c.type === 'PodScheduled' && c.status === 'False');
  const waitedMs = nowMs - (timeMs(pod.metadata?.creationTimestamp) ?? 0);
  if (unscheduled && waitedMs > SCHEDULING_PATIENCE_MS)
    return `cannot be scheduled: ${unscheduled.message ?? unscheduled.reason ?? ''}`;
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  for (const status of statuses) {
    const problem = containerProblem(status);
    if (problem) return problem;
  }
  if (pod.status?.phase === 'Failed') return `failed: ${pod.status.message ?? pod.status.reason ?? ''}`;
  return undefined;
}

function containerProblem(status: V1ContainerStatus): string | undefined {
  const waiting = status.state?.waiting;
  if (!waiting?.reason || !BAD_REASONS.has(waiting.reason)) return undefined;
  const last = status.lastState?.terminated;
  const exit = last ? `; it last ended with exit code ${last.exitCode} (${last.reason ?? ''})` : '';
  return `container ${status.name}: ${waiting.reason}${waiting.message ? `: ${waiting.message}` : ''}${exit}`;
}

/** Whether any of these EndpointSlices sends clients to the pod. */
export function isOffered(podUid: string, slices: readonly V1EndpointSlice[]): boolean {
  return slices.some((slice) =>
    (slice.endpoints ?? []).some(
      (endpoint) => endpoint.targetRef?.uid === podUid && endpoint.conditions?.ready !== false,
    ),
  );
}
