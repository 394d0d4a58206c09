import { describe, expect, test } from '@jest/globals';
import { type Found, refusal } from './precaution.ts';

const OWN = { name: 'holdfast-demo', namespace: 'holdfast-demo-system' };
const NOTHING: Found = { operators: [], definition: undefined, namespaces: [] };
const operator = (namespace: string) => ({
  namespace,
  name: 'holdfast-operator',
  image: 'registry.example/holdfast:1',
});

describe('on a cluster that is somebody’s own, the demo', () => {
  test.each<[string, Partial<Found>]>([
    ['nothing of Holdfast is there', {}],
    [
      'all that is there is of an earlier run',
      {
        operators: [operator('holdfast-demo-system')],
        definition: { release: OWN },
        namespaces: [
          { name: 'holdfast-demo', marked: true },
          { name: 'holdfast-demo-system', marked: true },
        ],
      },
    ],
    ['an earlier run was taken away but for the definitions, which helm keeps', { definition: { release: OWN } }],
  ])('goes on where %s', (_, found) => {
    expect(refusal({ ...NOTHING, ...found }, OWN)).toBeUndefined();
  });

  test.each<[string, Partial<Found>, RegExp]>([
    [
      'an operator as the README installs it',
      {
        operators: [operator('holdfast-system')],
        definition: { release: { name: 'holdfast', namespace: 'holdfast-system' } },
      },
      /Deployment holdfast-operator in the namespace holdfast-system, of registry\.example\/holdfast:1.*`helm test`/,
    ],
    [
      'an operator beside its own',
      { operators: [operator('holdfast-demo-system'), operator('files')], definition: { release: OWN } },
      /in the namespace files/,
    ],
    [
      'definitions of a release that is gone, and perhaps clusters with them',
      { definition: { release: { name: 'holdfast', namespace: 'holdfast-system' } } },
      /of the release holdfast in holdfast-system.*kubectl delete crd/,
    ],
    [
      'definitions of a release of its own name elsewhere',
      { definition: { release: { ...OWN, namespace: 'files' } } },
      /of the release holdfast-demo in files/,
    ],
    ['definitions that helm did not install', { definition: { release: {} } }, /of no release/],
    [
      'a namespace of its own’s name that somebody else made',
      {
        namespaces: [
          { name: 'holdfast-demo-system', marked: true },
          { name: 'holdfast-demo', marked: false },
        ],
      },
      /a namespace holdfast-demo, .*kubectl delete namespace holdfast-demo$/,
    ],
  ])('leaves alone %s, and says so', (_, found, message) => {
    expect(refusal({ ...NOTHING, ...found }, OWN)).toMatch(message);
  });
});
