import { describe, expect, test } from '@jest/globals';
import { parseSmbUrl } from './smb-url.ts';

describe('parseSmbUrl', () => {
  test('reads several servers, a share and a path', () => {
    expect(parseSmbUrl('smb://alice@a.example:1445,[fe80::1]:2445,b/projects/dir%20one/file.txt')).toEqual({
      user: 'alice',
      domain: '',
      addresses: [
        { host: 'a.example', port: 1445 },
        { host: 'fe80::1', port: 2445 },
        { host: 'b', port: 445 },
      ],
      share: 'projects',
      path: 'dir one/file.txt',
    });
  });

  test('reads a domain, and a share without a path', () => {
    expect(parseSmbUrl('smb://CORP;alice@a/projects/')).toMatchObject({
      domain: 'CORP',
      user: 'alice',
      share: 'projects',
      path: '',
    });
  });

  test.each([
    ['//a/b', /is no SMB address/],
    ['smb://a/b', /names no user/],
    ['smb://alice@a', /names no share/],
    ['smb://alice:secret@a/b', /use --password-file/],
    ['smb://alice@a:99999/b', /no server address/],
    ['smb://alice@a/b/50%', /begins no escape/],
  ])('refuses %s and says what to write', (text, message) => {
    expect(() => parseSmbUrl(text)).toThrow(message);
  });
});
