import { describe, expect, test } from '@jest/globals';
import { Accounts, DEFAULT_LIMITS, limitsOf } from './usage.ts';

const few = limitsOf({
  limits: {
    sessions: 3,
    bytesInFlight: 1000,
    waitingRequests: 4,
    perUser: { sessions: 2, bytesInFlight: 600, waitingRequests: 3 },
  },
});

describe('accounts', () => {
  test('take the defaults where the configuration says nothing', () => {
    expect(limitsOf({})).toEqual(DEFAULT_LIMITS);
    expect(few.perUser.opens).toBe(DEFAULT_LIMITS.perUser.opens);
  });

  test('have room for sessions of a user, and of all', () => {
    const accounts = new Accounts(few);
    const [alice, bob, carol] = [accounts.of('a'), accounts.of('b'), accounts.of('c')];
    accounts.addSessions(2, alice);
    expect(accounts.hasRoomForSession(alice)).toBe(false);
    expect(accounts.hasRoomForSession(bob)).toBe(true);
    accounts.addSessions(1, bob);
    expect(accounts.hasRoomForSession(carol)).toBe(false);
    accounts.addSessions(-1, alice);
    expect(accounts.hasRoomForSession(carol)).toBe(true);
  });

  test('have room for opens, those that are being made counted', () => {
    const accounts = new Accounts(limitsOf({ limits: { opens: 5, perUser: { opens: 3 } } }));
    const [alice, bob] = [accounts.of('a'), accounts.of('b')];
    alice.opens = 2;
    expect(accounts.hasRoomForOpen(alice, 2)).toBe(true);
    accounts.addCreates(1, alice);
    expect(accounts.hasRoomForOpen(alice, 2)).toBe(false);
    expect(accounts.hasRoomForOpen(bob, 2)).toBe(true);
    accounts.addCreates(2, bob);
    expect(accounts.hasRoomForOpen(bob, 2)).toBe(false);
    accounts.addCreates(-1, alice);
    expect(accounts.hasRoomForOpen(bob, 2)).toBe(true);
    expect(accounts.hasRoomForOpen(bob, 3)).toBe(false);
    expect(accounts.hasRoomForOpen(undefined, 2)).toBe(true);
  });

  test('have room for tree connects and pipes, three quarters of which one user may take', () => {
    const accounts = new Accounts();
    const [alice, bob] = [accounts.of('a'), accounts.of('b')];
    while (accounts.hasRoomForPipe(alice)) accounts.addPipes(1, alice);
    while (accounts.hasRoomForTree(alice)) accounts.addTrees(1, alice);
    expect([alice.pipes, alice.trees]).toEqual([384, 12_288]);
    while (accounts.hasRoomForPipe(bob)) accounts.addPipes(1, bob);
    while (accounts.hasRoomForTree(bob)) accounts.addTrees(1, bob);
    expect([bob.pipes, bob.trees]).toEqual([128, 4096]);
    accounts.addPipes(-1, alice);
    expect(accounts.hasRoomForPipe(bob)).toBe(true);
  });

  test('are full for the user who has much in flight, and for all when all have', () => {
    const accounts = new Accounts(few);
    const [alice, bob] = [accounts.of('a'), accounts.of('b')];
    accounts.addBytes(601, alice);
    expect(accounts.isFull(alice)).toBe(true);
    expect(accounts.isFull(bob)).toBe(false);
    accounts.addBytes(400, bob);
    expect(accounts.isFull(bob)).toBe(true);
    expect(accounts.isOverfull()).toBe(false);
    accounts.addBytes(250, bob);
    expect(accounts.isOverfull()).toBe(true);
  });

  test('count requests that wait for somebody by themselves', () => {
    const accounts = new Accounts(few);
    const alice = accounts.of('a');
    accounts.addWaiting(3, alice);
    expect(accounts.hasRoomToWait(alice)).toBe(false);
    expect(accounts.hasRoomToWait(accounts.of('b'))).toBe(true);
    expect(accounts.isFull(alice)).toBe(false);
  });

  test('tell who waits that something became free, once', async () => {
    const accounts = new Accounts(few);
    let woken = 0;
    accounts.addBytes(2000, undefined);
    accounts.whenFreed(() => woken++);
    accounts.addBytes(10, undefined);
    await new Promise(setImmediate);
    expect(woken).toBe(0);
    accounts.addBytes(-10, undefined);
    accounts.addBytes(-10, undefined);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(woken).toBe(1);
  });
});
