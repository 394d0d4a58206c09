import type { V1Service } from '@kubernetes/client-node';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { LABELS, metadataOf, nameOf, namesOf, PORTS, selectorOf } from './names.ts';

/** Pods that clients may be sent to. */
function servingSelector(cluster: FileServerCluster): Record<string, string> {
  return { ...selectorOf(nameOf(cluster), 'fileserver'), [LABELS.serving]: 'true' };
}

/** One address for all servers. A client stays with its server, because the channels of a session must meet the same one. */
export function clientService(cluster: FileServerCluster): V1Service {
  const { service } = cluster.spec;
  const metadata = metadataOf(cluster, namesOf(nameOf(cluster)).clientService, 'fileserver');
  const external = service.type !== 'ClusterIP';
  return {
    metadata: { ...metadata, ...(service.annotations ? { annotations: service.annotations } : {}) },
    spec: {
      type: service.type,
      selector: servingSelector(cluster),
      ports: [{ name: 'smb', port: service.port, targetPort: PORTS.smb, protocol: 'TCP' }],
      sessionAffinity: 'ClientIP',
      // Keeps the client's address, by which the affinity goes.
      ...(external ? { externalTrafficPolicy: 'Local' } : {}),
      ...(service.type === 'LoadBalancer' && service.loadBalancerClass
        ? { loadBalancerClass: service.loadBalancerClass }
        : {}),
      ...(service.type === 'LoadBalancer' && service.loadBalancerSourceRanges
        ? { loadBalancerSourceRanges: service.loadBalancerSourceRanges }
        : {}),
    },
  };
}

/** The addresses of all serving pods, for clients that connect to several side by side. */
export function headlessService(cluster: FileServerCluster): V1Service {
  return {
    metadata: metadataOf(cluster, namesOf(nameOf(cluster)).headlessService, 'fileserver'),
    spec: {
      type: 'ClusterIP',
      clusterIP: 'None',
      selector: servingSelector(cluster),
      ports: [{ name: 'smb', port: PORTS.smb, targetPort: PORTS.smb, protocol: 'TCP' }],
    },
  };
}
