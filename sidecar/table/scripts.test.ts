import { expect, test } from '@jest/globals';
import { SCRIPT_NAMES, scriptsFor } from './scripts.ts';

const scripts = scriptsFor('run:1');

test.each([...SCRIPT_NAMES, 'batch'] as const)("%s does not depend on Redis' clock, which may jump", (name) => {
  // Whatever reads the time, or lets a key go after some.
  expect(scripts[name].text).not.toMatch(/'(TIME|P?EXPIRE\w*|P?SETEX|GETEX|PX|EX|PXAT|EXAT)'/i);
});

test('another Redis process, or another life of its data, knows none of these scripts', () => {
  const shas = (store: string) => Object.values(scriptsFor(store)).map(({ sha }) => sha);
  const known = new Set([...shas('run:1')]);
  expect([...shas('run:2'), ...shas('other:1')].filter((sha) => known.has(sha))).toEqual([]);
});
