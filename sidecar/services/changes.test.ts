import { describe, expect, test } from '@jest/globals';
import type { Change } from '../../proto/generated/handles.ts';
import { Outbox } from './changes-outbox.ts';
import { concerns, unionOf } from './changes-scopes.ts';

const change = (path: string, to = ''): Change => ({ volume: 'v', path, to, stream: '', kind: 1, filter: 1 });
const scope = (directory: string, recursive: boolean) => ({ volume: 'v', directory, recursive });

describe('whether a change is of what is watched', () => {
  test('it is where it is an entry of the directory, or anything beneath where the tree is watched', () => {
    expect(concerns([scope('a', false)], change('a/b'))).toBe(true);
    expect(concerns([scope('a', false)], change('a/b/c'))).toBe(false);
    expect(concerns([scope('a', true)], change('a/b/c'))).toBe(true);
    expect(concerns([scope('a', true)], change('ab'))).toBe(false);
    expect(concerns([scope('', false)], change('a'))).toBe(true);
    expect(concerns([scope('', false)], change('a/b'))).toBe(false);
  });

  test('also where only the new name is, and where the directory itself is meant', () => {
    expect(concerns([scope('a', false)], change('b/x', 'a/x'))).toBe(true);
    expect(concerns([scope('a', false)], change('a'))).toBe(true);
    expect(concerns([scope('a', true)], { ...change('a/b'), volume: 'w' })).toBe(false);
  });

  test('one directory is one scope in the union, with the whole tree if anybody wants it', () => {
    expect(unionOf([[scope('a', false)], [scope('a', true), scope('b', false)]])).toEqual([
      scope('a', true),
      scope('b', false),
    ]);
  });
});

describe('what waits for a peer', () => {
  interface Sent {
    paths: string[];
    lost: boolean;
  }

  /** An outbox whose messages are held until they are let through, or fail. */
  function held() {
    const sent: Sent[] = [];
    const settle: ((error?: Error) => void)[] = [];
    const outbox = new Outbox({
      retryMs: 0,
      send: (changes, lost) => {
        sent.push({ paths: changes.map(({ path }) => path), lost });
        return new Promise((resolve, reject) => settle.push((error) => (error ? reject(error) : resolve())));
      },
      failed: () => {},
    });
    const next = async (error?: Error) => {
      settle.shift()?.(error);
      await new Promise((resolve) => setImmediate(resolve));
    };
    return { outbox, sent, next };
  }

  test('goes in order, what comes while a message is on its way in the next', async () => {
    const { outbox, sent, next } = held();
    outbox.push([change('a')], false);
    outbox.push([change('b')], false);
    outbox.push([change('c')], false);
    expect(sent).toEqual([{ paths: ['a'], lost: false }]);
    await next();
    expect(sent[1]).toEqual({ paths: ['b', 'c'], lost: false });
  });

  test('is bounded: too much of it is a loss', async () => {
    const { outbox, sent, next } = held();
    outbox.push([change('a')], false);
    for (let i = 0; i < 3000; i++) outbox.push([change(`x${i}`)], false);
    await next();
    expect(sent[1]).toEqual({ paths: [], lost: true });
    await next();
    outbox.push([change('b')], false);
    expect(sent[2]).toEqual({ paths: ['b'], lost: false });
  });

  test('that was not taken is a loss, and told without anything else to tell', async () => {
    const { outbox, sent, next } = held();
    outbox.push([change('a')], false);
    await next(new Error('no answer'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(sent[1]).toEqual({ paths: [], lost: true });
    outbox.end();
  });
});
