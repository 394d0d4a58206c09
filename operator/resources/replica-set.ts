import type { V1ReplicaSet } from '@kubernetes/client-node';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { LABELS, metadataOf, nameOf, namesOf, selectorOf } from './names.ts';
import { podTemplate } from './pod-template.ts';

/** The ReplicaSet of the cluster's newest pod template. It counts only members: a pod that is being replaced is none any more. */
export function replicaSet(cluster: FileServerCluster, image: string, replicas: number): V1ReplicaSet {
  const { template, hash } = podTemplate(cluster, image);
  const metadata = metadataOf(cluster, namesOf(nameOf(cluster)).replicaSet(hash), 'fileserver');
  return {
    metadata: { ...metadata, labels: { ...metadata.labels, [LABELS.template]: hash } },
    spec: {
      replicas,
      selector: {
        matchLabels: {
          ...selectorOf(nameOf(cluster), 'fileserver'),
          [LABELS.template]: hash,
          [LABELS.member]: 'true',
        },
      },
      template,
    },
  };
}
