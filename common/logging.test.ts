import { expect, test } from '@jest/globals';
import { HoldfastError } from './errors.ts';
import { loggedError } from './logging.ts';

test('an error is logged with what says what happened, and nothing else that hangs on it', () => {
  const refused = Object.assign(new Error('WRONGPASS'), { command: { name: 'auth', args: ['secret'] }, code: 'EAUTH' });
  const about = new HoldfastError('STORE', 'the store refuses', { cause: refused });
  expect(loggedError(refused)).toMatchObject({ type: 'Error', message: 'WRONGPASS', code: 'EAUTH' });
  expect(loggedError(about)).toMatchObject({ code: 'STORE', message: expect.stringContaining('WRONGPASS') });
  for (const error of [refused, about, new AggregateError([refused], 'all refuse')]) {
    expect(loggedError(error)).toHaveProperty('stack');
    expect(JSON.stringify(loggedError(error))).not.toContain('secret');
  }
  expect(loggedError(new AggregateError([refused], 'all refuse'))).toMatchObject({
    aggregateErrors: [{ message: 'WRONGPASS' }],
  });
});

test('what is no error is logged as it reads', () => {
  expect(loggedError('just a text' as unknown as Error)).toEqual({ type: 'string', message: 'just a text' });
});
