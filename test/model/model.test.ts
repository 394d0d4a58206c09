import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { CONFIGURATIONS, GUARDS } from './cases.ts';
import { check, MODELS, replay } from './checker.ts';

/** UPDATE=1: writes the counterexamples anew, after a change of a model. */
const isUpdate = process.env.UPDATE === '1';
const TIMEOUT_MS = 300_000;

const kept = (name: string, ext: string) => join(MODELS, 'counterexamples', `${name}.${ext}`);

describe('the model', () => {
  it.concurrent.each(Object.entries(CONFIGURATIONS))(
    'holds in every state: %s',
    async (_, configuration) => {
      const { counterexample, isExhaustive, states } = await check(configuration);
      expect(counterexample?.text).toBeUndefined();
      expect(isExhaustive).toBe(true);
      expect(states).toBeGreaterThan(10_000); // one in which next to nothing can happen shows nothing
    },
    TIMEOUT_MS,
  );
});

describe('without a guard', () => {
  it.concurrent.each(GUARDS)(
    '$guard: $name',
    async ({ name, guard, configuration, violates }) => {
      const { counterexample } = await check(configuration, guard);
      if (isUpdate && counterexample) {
        writeFileSync(kept(name, 'trail'), counterexample.trail);
        writeFileSync(kept(name, 'txt'), counterexample.text);
      }
      expect(counterexample?.violated).toBe(violates);
      // The one that is kept is one of this model still, and its text says what it does.
      const again = await replay(configuration, guard, readFileSync(kept(name, 'trail'), 'utf8'));
      expect(again.violated).toBe(violates);
      expect(again.text).toBe(readFileSync(kept(name, 'txt'), 'utf8'));
    },
    TIMEOUT_MS,
  );
});
