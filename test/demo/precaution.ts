// What has to be so before anything is installed on a cluster that is somebody's own: nothing of theirs is upgraded, taken away or
// given a second operator.
import type { KubeObject, Kubernetes } from '../cluster/kubernetes.ts';

/** On every namespace that the demo makes; without it, a namespace is not the demo's. */
export const MARK = 'demo.holdfast.dev/made';
const CRD = 'fileserverclusters.holdfast.dev';
const OPERATORS = 'app.kubernetes.io/name=holdfast,app.kubernetes.io/component=operator';

/** A release of the chart: its name, and the namespace that it is installed in. */
export interface Release {
  name: string;
  namespace: string;
}

/** What of Holdfast is on a cluster. */
export interface Found {
  /** Deployments of operators, of whatever release. */
  operators: { namespace: string; name: string; image: string }[];
  /** Whose the definition of FileServerCluster is; undefined where there is none. */
  definition: { release: Partial<Release> } | undefined;
  /** Those of the namespaces the demo wants that exist. */
  namespaces: { name: string; marked: boolean }[];
}

/**
 * Why the demo must not touch this cluster, with what to do about it; undefined when all that was found is of earlier runs of its own.
 * @param own the release that the demo installs
 */
export function refusal(found: Found, own: Release): string | undefined {
  const operator = found.operators.find(({ namespace }) => namespace !== own.namespace);
  if (operator) {
    return (
      `an operator is installed here already: the Deployment ${operator.name} in the namespace ${operator.namespace}, of ${operator.image}. ` +
      'The demo installs one of its own, and two must not look after the same clusters; yours was left as it is. Try yours with ' +
      '`helm test` (docs/quickstart.md, "See what it is for"), or give the demo a cluster that has none'
    );
  }
  const unmarked = found.namespaces.find(({ marked }) => !marked);
  if (unmarked) {
    return (
      `there is a namespace ${unmarked.name}, and it was not the demo that made it: it has no label ${MARK}. It was left as it is. ` +
      `If nothing in it is needed: kubectl delete namespace ${unmarked.name}`
    );
  }
  const release = found.definition?.release;
  if (release && (release.name !== own.name || release.namespace !== own.namespace)) {
    const whose = release.name ? `of the release ${release.name} in ${release.namespace}` : 'of no release';
    return (
      `the definition ${CRD} is here already, ${whose}, and may have clusters of yours. It was left as it is. If there are none ` +
      '(kubectl get fileserverclusters --all-namespaces): kubectl delete crd fileserverclusters.holdfast.dev handlemigrations.holdfast.dev'
    );
  }
  return undefined;
}

/** Throws where something of somebody else's is in the way. @param namespaces those that are wanted */
export async function takeCare(cluster: Kubernetes, own: Release, namespaces: string[]): Promise<void> {
  const reason = refusal(await look(cluster, namespaces), own);
  if (reason !== undefined) throw new Error(reason);
}

async function look(cluster: Kubernetes, namespaces: string[]): Promise<Found> {
  const items = async (...args: string[]) => {
    const text = await cluster.kubectl(['get', ...args, '--ignore-not-found', '-o', 'json']);
    if (text.trim() === '') return [];
    const answer = JSON.parse(text) as KubeObject & { items?: KubeObject[] };
    return answer.items ?? [answer];
  };
  const [operators, definitions, existing] = await Promise.all([
    items('deployments', '--all-namespaces', '-l', OPERATORS),
    items('crd', CRD),
    items('namespaces', ...namespaces),
  ]);
  const annotations = definitions[0]?.metadata.annotations;
  return {
    operators: operators.map(({ metadata, spec }) => ({
      namespace: metadata.namespace ?? '',
      name: metadata.name,
      image: imageOf(spec),
    })),
    definition: definitions[0] && {
      release: {
        name: annotations?.['meta.helm.sh/release-name'],
        namespace: annotations?.['meta.helm.sh/release-namespace'],
      },
    },
    namespaces: existing.map(({ metadata }) => ({ name: metadata.name, marked: metadata.labels?.[MARK] === 'true' })),
  };
}

function imageOf(spec: KubeObject['spec']): string {
  const template = spec as { template?: { spec?: { containers?: { image?: string }[] } } } | undefined;
  return template?.template?.spec?.containers?.[0]?.image ?? 'an unknown image';
}
