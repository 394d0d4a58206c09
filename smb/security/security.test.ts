import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WireError } from '../wire/errors.ts';
import { Access, accessCheck, FileAccess, mapGenericAccess, maximalAccess, userToken } from './access.ts';
import {
  AceFlag,
  AceType,
  DescriptorControl,
  decodeSecurityDescriptor,
  encodeSecurityDescriptor,
  plainDescriptor,
  type SecurityDescriptor,
  SecurityInfo,
} from './descriptor.ts';
import { decodeSid, encodeSid, isSid, userSid, wellKnownSids } from './sid.ts';

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex');
const alice = 'S-1-5-21-1-2-3-1001';
const bob = 'S-1-5-21-1-2-3-1002';
const staff = 'S-1-5-21-1-2-3-2001';
const { everyone, creatorOwner, ownerRights, users } = wellKnownSids;

describe('SIDs', () => {
  test.each([
    ['S-1-1-0', '0101000000000001 00000000'],
    ['S-1-5-32-544', '0102000000000005 20000000 20020000'],
    ['S-1-5-21-1-2-4294967295-500', '0105000000000005 15000000 01000000 02000000 ffffffff f4010000'],
    ['S-1-0x123456789abc-1', '0101123456789abc 01000000'],
  ])('%s', (sid, binary) => {
    expect(encodeSid(sid)).toEqual(hex(binary));
    expect(decodeSid(hex(`ff${binary}`), 1)).toEqual({ sid, size: hex(binary).length });
  });

  test.each(['', 'S-1', 'S-2-5-32', 'S-1-5-x', 'S-1-5-4294967296', `S-1-5${'-1'.repeat(16)}`, 'x S-1-5-32'])(
    '%j is none',
    (text) => {
      expect(isSid(text)).toBe(false);
      expect(() => encodeSid(text)).toThrow(RangeError);
    },
  );

  test('of users: the same for the same name in any case, another for another user or cluster', () => {
    const sid = userSid('cluster-1', 'Alice');
    expect(sid).toMatch(/^S-1-5-21-\d+-\d+-\d+-\d+$/);
    expect(userSid('cluster-1', 'aLICE')).toBe(sid);
    expect(userSid('cluster-1', 'bob').split('-').slice(0, 7)).toEqual(sid.split('-').slice(0, 7));
    expect(userSid('cluster-1', 'bob')).not.toBe(sid);
    expect(userSid('cluster-2', 'Alice')).not.toBe(sid);
    // It is stored in the security descriptors of files: it must never change.
    expect(sid).toBe('S-1-5-21-1787080597-2625020493-2865688537-912716393');
  });
});

describe('security descriptors', () => {
  const sid = fc.constantFrom(alice, bob, everyone, creatorOwner);
  const ace = fc.oneof(
    fc.record({
      type: fc.constantFrom(AceType.allow, AceType.deny, AceType.audit),
      flags: fc.nat(255),
      mask: fc.nat(0xffffffff),
      sid,
    }),
    fc.record({
      type: fc.constantFrom(5, 9, 17),
      flags: fc.nat(255),
      mask: fc.constant(0),
      sid: fc.constant('S-1-0-0'),
      opaque: fc.uint8Array({ minLength: 4, maxLength: 20 }).map((array) => Buffer.from(array)),
    }),
  );
  const acl = fc.option(fc.record({ revision: fc.constantFrom(2, 4), aces: fc.array(ace, { maxLength: 5 }) }));
  const descriptors = fc.record({ control: fc.constant(0), owner: sid, group: sid, dacl: acl, sacl: acl });

  test('come back as they were', () => {
    fc.assert(
      fc.property(descriptors, (descriptor) => {
        const decoded = decodeSecurityDescriptor(encodeSecurityDescriptor(descriptor));
        expect({ ...decoded, control: 0 }).toEqual(descriptor);
      }),
    );
  });

  test('give only the parts that are asked for', () => {
    const descriptor = plainDescriptor(alice, users, [{ sid: everyone, mask: FileAccess.all }]);
    const decoded = decodeSecurityDescriptor(encodeSecurityDescriptor(descriptor, SecurityInfo.owner));
    expect(decoded).toEqual({ control: DescriptorControl.selfRelative, owner: alice });
  });

  test('whose ACEs are shorter than an ACE or reach beyond the ACL are refused', () => {
    const encoded = encodeSecurityDescriptor(plainDescriptor(alice, users, [{ sid: everyone, mask: 1 }]));
    const aceSizeAt = encoded.readUInt32LE(16) + 8 + 2;
    for (const size of [0, 3, 21, 0xffff]) {
      const damaged = Buffer.from(encoded);
      damaged.writeUInt16LE(size, aceSizeAt);
      expect(() => decodeSecurityDescriptor(damaged)).toThrow(WireError);
      // Of a type that is not understood, too.
      damaged.writeUInt8(17, aceSizeAt - 2);
      expect(() => decodeSecurityDescriptor(damaged)).toThrow(WireError);
    }
  });

  test('throw nothing but WireError, whatever comes', () => {
    const damaged = fc
      .tuple(descriptors, fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 4 }), fc.option(fc.nat(200)))
      .map(([descriptor, changes, length]) => {
        const encoded = encodeSecurityDescriptor(descriptor);
        for (const [at, byte] of changes) if (at < encoded.length) encoded[at] = byte;
        return encoded.subarray(0, length ?? encoded.length);
      });
    fc.assert(
      fc.property(damaged, (input) => {
        try {
          decodeSecurityDescriptor(input);
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe('accessCheck', () => {
  const dacl = (...aces: [type: number, sid: string, mask: number, flags?: number][]): SecurityDescriptor => ({
    control: 0,
    owner: alice,
    group: users,
    dacl: { revision: 2, aces: aces.map(([type, sid, mask, flags = 0]) => ({ type, sid, mask, flags })) },
  });
  const { allow, deny } = AceType;

  test('generic rights are those of files', () => {
    expect(mapGenericAccess(Access.genericRead)).toBe(FileAccess.read);
    expect(mapGenericAccess(Access.genericAll | Access.genericWrite)).toBe(FileAccess.all);
    expect(mapGenericAccess(Access.maximumAllowed)).toBe(Access.maximumAllowed);
  });

  test('allows what is granted, to the user or a group, and nothing more', () => {
    const descriptor = dacl([allow, bob, FileAccess.read], [allow, staff, Access.writeData]);
    const token = userToken(bob, [staff]);
    expect(accessCheck(descriptor, token, Access.genericRead)).toEqual({ allowed: true, granted: FileAccess.read });
    expect(accessCheck(descriptor, token, Access.writeData).allowed).toBe(true);
    expect(accessCheck(descriptor, token, Access.delete)).toEqual({ allowed: false, granted: 0 });
    expect(accessCheck(descriptor, userToken(bob), Access.writeData).allowed).toBe(false);
  });

  test('the first ACE that speaks of a right decides on it', () => {
    const denied = dacl([deny, bob, Access.writeData], [allow, everyone, FileAccess.all]);
    const allowed = dacl([allow, everyone, FileAccess.all], [deny, bob, Access.writeData]);
    expect(accessCheck(denied, userToken(bob), Access.writeData).allowed).toBe(false);
    expect(accessCheck(denied, userToken(bob), Access.readData).allowed).toBe(true);
    expect(accessCheck(allowed, userToken(bob), Access.writeData).allowed).toBe(true);
  });

  test('MAXIMUM_ALLOWED gives all there is, and fails when there is nothing', () => {
    const descriptor = dacl([allow, bob, FileAccess.read]);
    expect(accessCheck(descriptor, userToken(bob), Access.maximumAllowed)).toEqual({
      allowed: true,
      granted: FileAccess.read,
    });
    expect(accessCheck(dacl(), userToken(bob), Access.maximumAllowed).allowed).toBe(false);
    expect(accessCheck(descriptor, userToken(bob), Access.maximumAllowed | Access.delete).allowed).toBe(false);
  });

  test('owners may always read and change the DACL, unless OWNER RIGHTS says otherwise', () => {
    expect(maximalAccess(dacl(), userToken(alice))).toBe(Access.readControl | Access.writeDac);
    expect(maximalAccess(dacl([allow, ownerRights, Access.readControl]), userToken(alice))).toBe(Access.readControl);
    expect(maximalAccess(dacl([allow, ownerRights, FileAccess.all]), userToken(bob))).toBe(0);
  });

  test('no DACL lets everybody do everything, an empty one nobody anything', () => {
    expect(maximalAccess({ control: 0, owner: alice, dacl: null }, userToken(bob))).toBe(FileAccess.all);
    expect(maximalAccess(dacl(), userToken(bob))).toBe(0);
  });

  test('ACEs that are only handed on do not count, nor does the SACL', () => {
    expect(maximalAccess(dacl([allow, bob, FileAccess.all, AceFlag.inheritOnly]), userToken(bob))).toBe(0);
    expect(accessCheck(dacl([allow, bob, 0xffffffff]), userToken(bob), Access.accessSystemSecurity).allowed).toBe(
      false,
    );
  });
});
