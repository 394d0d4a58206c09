import { expect, test } from '@jest/globals';
import type { V1PersistentVolumeClaim, V1Secret } from '@kubernetes/client-node';
import { claimProblems, usersProblems } from './prerequisites.ts';

const claim = (accessModes: string[], phase = 'Bound') =>
  ({ spec: { accessModes }, status: { phase } }) as V1PersistentVolumeClaim;

test.each([
  ['is missing', undefined, 'ClaimMissing'],
  ['is for one node', claim(['ReadWriteOnce']), 'ClaimNotShared'],
  ['lost its volume', claim(['ReadWriteMany'], 'Lost'), 'ClaimLost'],
  ['waits for its first consumer', claim(['ReadWriteMany'], 'Pending'), undefined],
])('a claim that %s', (_what, given, reason) => {
  expect(claimProblems('data', 'media', given)[0]?.reason).toBe(reason);
});

const users = (data: Record<string, string> | undefined) => ({ data }) as V1Secret;

test.each([
  ['is missing', undefined, 'UsersSecretMissing'],
  ['is empty', users(undefined), 'UsersSecretEmpty'],
  ['has hidden keys only', users({ '.keep': 'eA==' }), 'UsersSecretEmpty'],
  ['has a user without a password', users({ alice: '' }), 'UsersSecretEmpty'],
  ['has a user', users({ alice: 'eA==' }), undefined],
])('a users Secret that %s', (_what, given, reason) => {
  expect(usersProblems('media-users', given)[0]?.reason).toBe(reason);
});
