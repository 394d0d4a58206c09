import { expect, test } from '@jest/globals';
import { SERVICES } from '../kinds.ts';
import { clientService } from '../resources/services.ts';
import { cluster } from '../testing/fixtures.ts';
import { isOurs, NameTakenError, requireOurs } from './ownership.ts';

const meant = clientService(cluster());
const { name, namespace, labels, ownerReferences } = meant.metadata ?? {};

test('what carries the labels of the cluster, or has it as its owner, is meant', () => {
  expect(isOurs(meant, meant)).toBe(true);
  expect(isOurs({ metadata: { name, namespace, labels } }, meant)).toBe(true);
  expect(isOurs({ metadata: { name, namespace, ownerReferences } }, meant)).toBe(true);
});

test('what only has the name is not, nor what is another cluster’s', () => {
  const another = { ...labels, 'holdfast.dev/cluster': 'another' };
  for (const metadata of [{}, { labels: { app: 'media' } }, { labels: another }]) {
    expect(isOurs({ metadata: { name, namespace, ...metadata } }, meant)).toBe(false);
  }
  expect(() => requireOurs(SERVICES, { metadata: { name } }, meant)).toThrow(NameTakenError);
  expect(() => requireOurs(SERVICES, { metadata: { name } }, meant)).toThrow(
    /Service "media" that is not this cluster's.*kubectl delete services media/,
  );
});
