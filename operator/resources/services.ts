import type { V1Service } from '@kubernetes/client-node';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { LABELS, metadataOf, nameOf, namesOf, PORTS, selectorOf, slotLabel } from './names.ts';

/** Pods that clients may be sent to. */
function servingSelector(cluster: FileServerCluster): Record<string, string> {
  return { ...selectorOf(nameOf(cluster), 'fileserver'), [LABELS.serving]: 'true' };
}

/** One address for all servers. A client stays with its server, because the channels of a session must meet the same one. */
export function clientService(cluster: FileServerCluster): V1Service {
  const service = addressedService(cluster, namesOf(nameOf(cluster)).clientService, servingSelector(cluster));
  return { ...service, spec: { ...service.spec, sessionAffinity: 'ClientIP' } };
}

/** An address of its own for the server that has this slot. */
export function serverService(cluster: FileServerCluster, slot: number): V1Service {
  const selector = { ...servingSelector(cluster), [slotLabel(slot)]: 'true' };
  const service = addressedService(cluster, namesOf(nameOf(cluster)).serverService(slot), selector);
  const labels = { ...service.metadata?.labels, [slotLabel(slot)]: 'true' };
  return { ...service, metadata: { ...service.metadata, labels } };
}

/** What clients connect to, as the cluster says how it is reached. */
function addressedService(cluster: FileServerCluster, name: string, selector: Record<string, string>): V1Service {
  const { service } = cluster.spec;
  const metadata = metadataOf(cluster, name, 'fileserver');
  const external = service.type !== 'ClusterIP';
  return {
    metadata: { ...metadata, ...(service.annotations ? { annotations: service.annotations } : {}) },
    spec: {
      type: service.type,
      selector,
      ports: [{ name: 'smb', port: service.port, targetPort: PORTS.smb, protocol: 'TCP' }],
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
