import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { BreakDelivery, type Transport } from './break-delivery.ts';

describe('the notifications of breaks on their way', () => {
  let transport: { written: number | undefined; acknowledged: number | undefined };
  let delivery: BreakDelivery;
  const giveUp = jest.fn();
  const lost = jest.fn();

  beforeEach(() => {
    jest.useFakeTimers();
    giveUp.mockReset();
    lost.mockReset();
    transport = { written: 100, acknowledged: 0 };
    delivery = new BreakDelivery(transport as Transport, giveUp);
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test('one that arrived is not lost with its connection', () => {
    delivery.sent(() => true, lost);
    transport.acknowledged = 100;
    jest.advanceTimersByTime(10_000);
    delivery.ended();
    expect(giveUp).not.toHaveBeenCalled();
    expect(lost).not.toHaveBeenCalled();
  });

  test('one that is not acknowledged ends the connection, and is told as lost once', () => {
    delivery.sent(() => true, lost);
    jest.advanceTimersByTime(2_000);
    expect(giveUp).not.toHaveBeenCalled();
    jest.advanceTimersByTime(2_000);
    expect(giveUp).toHaveBeenCalled();
    delivery.ended();
    delivery.ended();
    expect(lost).toHaveBeenCalledTimes(1);
  });

  test('a client that has no other channel gets more time, until it has one', () => {
    let hasOther = false;
    delivery.sent(() => hasOther, lost);
    jest.advanceTimersByTime(19_000);
    expect(giveUp).not.toHaveBeenCalled();
    hasOther = true;
    jest.advanceTimersByTime(500);
    expect(giveUp).toHaveBeenCalled();
  });

  test('a client that cannot be reached by its only channel is taken for gone', () => {
    delivery.sent(() => false, lost);
    jest.advanceTimersByTime(21_000);
    expect(giveUp).toHaveBeenCalled();
  });

  test('a client that takes in what lies before it gets more time', () => {
    delivery.sent(() => true, lost);
    for (let i = 0; i < 90; i++) {
      jest.advanceTimersByTime(1_000);
      transport.acknowledged = i;
    }
    expect(giveUp).not.toHaveBeenCalled();
    jest.advanceTimersByTime(5_000);
    expect(giveUp).toHaveBeenCalled();
  });

  test('where TCP does not say what has arrived, nothing is given up', () => {
    transport.acknowledged = undefined;
    delivery.sent(() => true, lost);
    jest.advanceTimersByTime(60_000);
    expect(giveUp).not.toHaveBeenCalled();
  });

  test('what is acknowledged of later bytes does not count, nor do bytes that were not handed over', () => {
    transport.written = undefined;
    delivery.sent(() => true, lost);
    transport.acknowledged = 100;
    jest.advanceTimersByTime(1_000);
    transport.written = 150;
    jest.advanceTimersByTime(1_000);
    transport.acknowledged = 149;
    jest.advanceTimersByTime(500);
    delivery.ended();
    expect(lost).toHaveBeenCalledTimes(1);
  });
});
