import { expect, test } from '@jest/globals';
import { type AuthorityStep, beginReplacement, type ClusterAuthority, nextAuthority } from './authority.ts';
import { PROPAGATION_MS } from './propagation.ts';

const of = (name: string) => ({ certificate: `certificate of ${name}`, key: `key of ${name}` });
const [a, b] = [of('a'), of('b')];
const stable: ClusterAuthority = { signer: a, trusted: [a.certificate] };

/** What a step leads to; fails where none is due. */
function taken(step: AuthorityStep): ClusterAuthority {
  if (step.wanted !== 'step') throw new Error(`wanted: ${step.wanted}`);
  return step.next;
}

test('an authority stays until it ends or somebody wants another', () => {
  expect(nextAuthority(stable, undefined, false, 0)).toEqual({ wanted: 'nothing' });
  expect(nextAuthority({ ...stable, madeFor: 'x' }, 'x', false, 0)).toEqual({ wanted: 'nothing' });
  expect(nextAuthority(stable, 'x', false, 0)).toEqual({ wanted: 'another' });
  expect(nextAuthority(stable, undefined, true, 0)).toEqual({ wanted: 'another' });
});

test('all learn to trust the next, then its certificates are shown, then the old one is forgotten; each step when all have the last', () => {
  const learning = beginReplacement(stable, b, 'x', 1000);
  expect(learning).toMatchObject({ signer: a, trusted: [b.certificate, a.certificate], next: b });
  expect(nextAuthority(learning, 'x', true, 1000 + PROPAGATION_MS - 1)).toEqual({ wanted: 'nothing' });
  const changed = taken(nextAuthority(learning, 'x', true, 1000 + PROPAGATION_MS));
  expect(changed).toMatchObject({ signer: b, trusted: [b.certificate, a.certificate] });
  expect(changed.next).toBeUndefined();
  expect(nextAuthority(changed, 'x', false, changed.sinceMs ?? 0)).toEqual({ wanted: 'nothing' });
  const done = taken(nextAuthority(changed, 'x', false, (changed.sinceMs ?? 0) + PROPAGATION_MS));
  expect(done).toEqual({ signer: b, trusted: [b.certificate], madeFor: 'x' });
  expect(nextAuthority(done, 'x', false, 1e12)).toEqual({ wanted: 'nothing' });
});

test('another wish meanwhile waits for its turn', () => {
  const learning = beginReplacement(stable, b, 'x', 0);
  expect(nextAuthority(learning, 'y', false, 1)).toEqual({ wanted: 'nothing' });
  expect(nextAuthority({ signer: b, trusted: [b.certificate], madeFor: 'x' }, 'y', false, 2)).toEqual({
    wanted: 'another',
  });
});

test('a clock that was set back holds nothing up', () => {
  const learning = beginReplacement(stable, b, 'x', 5_000_000);
  expect(taken(nextAuthority(learning, 'x', false, 1000)).signer).toBe(b);
});
