// The sample that users are given, as the demo applies it.
import { type Document, parseAllDocuments } from 'yaml';

/** More than the writers and two uploads fill: 24 files of 64 MiB, and 512 MiB. */
const CLAIM_SIZE = '5Gi';

/**
 * The sample with what has to differ: the namespace, the user's password, and a Service that needs no load balancer. The claim that it
 * names goes before it, of the default storage class.
 * @param sample a Secret and a FileServerCluster
 * @returns a List of all, as JSON
 */
export function manifests(
  sample: string,
  { namespace, user, password }: { namespace: string; user: string; password: string },
): string {
  const documents = parseAllDocuments(sample) as Document[];
  const kind = (wanted: string) => {
    const found = documents.find((document) => document.get('kind') === wanted);
    if (!found) throw new Error(`the sample has no ${wanted}`);
    return found;
  };
  const replace = (document: Document, path: (string | number)[], value: string) => {
    if (!document.hasIn(path)) throw new Error(`the sample has no ${path.join('.')}`);
    document.setIn(path, value);
  };
  replace(kind('Secret'), ['stringData', user], password);
  const cluster = kind('FileServerCluster');
  cluster.setIn(['spec', 'service'], { type: 'ClusterIP' });
  const name = cluster.getIn(['spec', 'volumes', 0, 'persistentVolumeClaim', 'claimName']);
  if (typeof name !== 'string') throw new Error('the sample names no claim');
  for (const document of documents) document.setIn(['metadata', 'namespace'], namespace);
  const claim = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace },
    spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: CLAIM_SIZE } } },
  };
  const items = [claim, ...documents.map((document) => document.toJS())];
  return JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
}
