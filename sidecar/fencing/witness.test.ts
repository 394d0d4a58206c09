import { expect, test } from '@jest/globals';
import { Witness } from './witness.ts';

const sighting = (serverId: string, fields: { epoch?: number; counter?: number; state?: string } = {}) => ({
  ...{ serverId, epoch: 3, counter: 5, state: 'active', understands: 1 },
  ...fields,
});

test('a store that says less than what was seen has lost something', () => {
  const witness = new Witness();
  witness.observe([sighting('a')]);
  const lost = (...servers: ReturnType<typeof sighting>[]) => witness.contradicts(servers, 0, false);
  expect(lost(sighting('a'), sighting('b'))).toBeUndefined();
  expect(lost(sighting('a', { counter: 6 }))).toBeUndefined();
  expect(lost(sighting('a', { state: 'fenced' }))).toBeUndefined();
  expect(lost(sighting('a', { epoch: 4, counter: 0 }))).toBeUndefined();
  expect(lost(sighting('a', { counter: 4 }))).toContain('renewal 4');
  expect(lost(sighting('a', { epoch: 2 }))).toContain('epoch 2');
  expect(lost()).toContain('does not know the server a');
  witness.observe([sighting('a', { state: 'fenced' })]);
  expect(lost(sighting('a'))).toContain('alive');
  expect(lost()).toBeUndefined(); // it was forgotten
});

test('who is not there any more and has no higher epoch than those that were forgotten, was', () => {
  const witness = new Witness();
  witness.observe([sighting('a')]);
  expect(witness.contradicts([], 2, false)).toContain('does not know the server a');
  expect(witness.contradicts([], 3, false)).toBeUndefined();
  expect(witness.contradicts([sighting('a', { counter: 4 })], 3, false)).toContain('renewal 4');
});

test('in a life of the data that others have begun, who did not come back is missing; what is there is no older than before', () => {
  const witness = new Witness();
  witness.observe([sighting('a'), sighting('b', { state: 'fenced' })]);
  const lost = (...servers: ReturnType<typeof sighting>[]) => witness.contradicts(servers, 0, true);
  expect(lost()).toBeUndefined();
  expect(lost(sighting('a', { epoch: 2, state: 'fenced' }))).toBeUndefined();
  expect(lost(sighting('a', { counter: 4 }))).toContain('renewal 4');
  expect(lost(sighting('a'), sighting('b'))).toContain('has b alive');
});
