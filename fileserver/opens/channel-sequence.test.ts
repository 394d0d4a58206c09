import { describe, expect, test } from '@jest/globals';
import { ChannelSequence } from './channel-sequence.ts';

describe('the channel sequence of an open', () => {
  test('requests of the same or a later sequence are done, earlier ones are not', () => {
    const channel = new ChannelSequence(0);
    expect(channel.admits(0, false)).toBe(true);
    expect(channel.admits(0x8000, false)).toBe(false);
    expect(channel.admits(0xffff, false)).toBe(false);
    expect(channel.admits(0x7fff, false)).toBe(true);
    expect(channel.admits(0x7ffe, false)).toBe(false);
    expect(channel.admits(0x8001, false)).toBe(true);
  });

  test('the sequence wraps', () => {
    const channel = new ChannelSequence(0xfffe);
    expect(channel.admits(3, false)).toBe(true);
    expect(channel.admits(0xffff, false)).toBe(false);
  });

  test('a replay waits for what was sent before the failover', () => {
    const channel = new ChannelSequence(0);
    expect(channel.admits(0, false)).toBe(true);
    const first = channel.begin();
    expect(channel.admits(1, true)).toBe(false);
    expect(channel.admits(1, false)).toBe(true);
    const second = channel.begin();
    channel.end(first);
    // Requests of the new sequence do not hold a replay back.
    expect(channel.admits(1, true)).toBe(true);
    channel.end(second);
  });

  test('what began under an earlier sequence ends under it', () => {
    const channel = new ChannelSequence(0);
    const old = channel.begin();
    expect(channel.admits(5, false)).toBe(true);
    const fresh = channel.begin();
    expect(channel.admits(9, false)).toBe(true);
    expect(channel.admits(9, true)).toBe(false);
    channel.end(fresh);
    expect(channel.admits(9, true)).toBe(false);
    channel.end(old);
    expect(channel.admits(9, true)).toBe(true);
  });
});
