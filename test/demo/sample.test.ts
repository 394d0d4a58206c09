import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parseAllDocuments } from 'yaml';
import { manifests } from './sample.ts';

const SAMPLE = readFileSync(join(import.meta.dirname, '../../crds/samples/fileservercluster.yaml'), 'utf8');
const objectsOf = (text: string) => parseAllDocuments(text).map((document) => document.toJS() as object);

describe('what the demo applies', () => {
  const changed = { namespace: 'holdfast-demo', user: 'alice', password: '-: "no#t' };

  test('is the sample, but for its namespace, the password and the kind of Service, after the claim that it names', () => {
    const [secret, cluster] = objectsOf(SAMPLE) as [
      { metadata: object; stringData: object },
      { metadata: object; spec: { replicas: number } },
    ];
    const metadata = { name: 'media', namespace: 'holdfast-demo' };
    expect(cluster.spec.replicas).toBe(3);
    expect(JSON.parse(manifests(SAMPLE, changed)).items).toEqual([
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata,
        spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '5Gi' } } },
      },
      { ...secret, metadata: { name: 'media-users', namespace: 'holdfast-demo' }, stringData: { alice: '-: "no#t' } },
      { ...cluster, metadata, spec: { ...cluster.spec, service: { type: 'ClusterIP' } } },
    ]);
  });

  test('is refused when the sample has no such user, or no cluster', () => {
    expect(() => manifests(SAMPLE, { ...changed, user: 'bob' })).toThrow('stringData.bob');
    expect(() => manifests(SAMPLE.split('---')[0] ?? '', changed)).toThrow('no FileServerCluster');
  });
});
