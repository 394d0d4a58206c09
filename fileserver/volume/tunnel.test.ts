import { describe, expect, test } from '@jest/globals';
import { otherShortName, shortName } from './short-name.ts';
import { Tunnel } from './tunnel.ts';

describe('8.3 names', () => {
  test('are made for names that are none themselves', () => {
    expect(otherShortName('README.TXT')).toBe('');
    expect(otherShortName('readme.txt')).toBe('');
    expect(otherShortName('A longer name.html')).toMatch(/^ALONG~[0-9A-Z]{2}\.HTM$/);
    expect(otherShortName('.profile')).toBe(shortName('.profile'));
  });

  test('give a removed name back in its directory, and nowhere else', () => {
    const tunnel = new Tunnel();
    const short = shortName('A longer name.html');
    tunnel.add(1n, 'A longer name.html');
    expect(tunnel.find(1n, short)).toBe('A longer name.html');
    expect(tunnel.find(1n, short.toLowerCase())).toBe('A longer name.html');
    expect(tunnel.find(2n, short)).toBeUndefined();
    expect(tunnel.find(1n, 'A longer name.html')).toBeUndefined();
    expect(tunnel.find(1n, 'other.txt')).toBeUndefined();
  });
});
