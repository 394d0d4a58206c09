import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FileAccess, maximalAccess, userToken } from './access.ts';
import { Access } from './access-mask.ts';
import { type Ace, AceFlag, AceType, DescriptorControl, type SecurityDescriptor, SecurityInfo } from './descriptor.ts';
import { changedDescriptor, createDescriptor } from './inheritance.ts';
import { wellKnownSids } from './sid.ts';

const alice = 'S-1-5-21-1-2-3-1001';
const bob = 'S-1-5-21-1-2-3-1002';
const { everyone, creatorOwner, creatorGroup, localSystem, users } = wellKnownSids;
const { objectInherit, containerInherit, inheritOnly, noPropagateInherit, inherited } = AceFlag;
const both = objectInherit | containerInherit;
const { daclAutoInherited, daclAutoInheritReq, daclProtected } = DescriptorControl;
const { allow, deny } = AceType;

const ace = (sid: string, mask: number, flags = 0, type: number = allow): Ace => ({ type, flags, mask, sid });
const descriptor = (control: number, ...aces: Ace[]): SecurityDescriptor => ({
  control,
  owner: bob,
  group: users,
  dacl: { revision: 2, aces },
});
const file = { directory: false, owner: alice, group: users };
const folder = { directory: true, owner: alice, group: users };

describe('createDescriptor without a descriptor of the creator', () => {
  const child = (flags: number, directory: boolean, sid: string = everyone, mask: number = FileAccess.read) =>
    createDescriptor(descriptor(0, ace(sid, mask, flags)), undefined, directory ? folder : file).dacl?.aces;

  test('files get what is for objects, with no flags left', () => {
    expect(child(both, false)).toEqual([ace(everyone, FileAccess.read)]);
  });

  test('directories keep handing on', () => {
    expect(child(both, true)).toEqual([ace(everyone, FileAccess.read, both)]);
    expect(child(objectInherit, true)?.[0]?.flags).toBe(objectInherit | inheritOnly);
    expect(child(both | noPropagateInherit, true)?.[0]?.flags).toBe(0);
    expect(child(both | inheritOnly, true)?.[0]?.flags).toBe(both);
    expect(child(containerInherit, false)).toEqual([ace(alice, FileAccess.all), ace(localSystem, FileAccess.all)]);
  });

  test('CREATOR OWNER and GROUP become who they are here, and stay themselves for what comes below', () => {
    expect(child(both, false, creatorOwner)).toEqual([ace(alice, FileAccess.read)]);
    expect(child(both, false, creatorGroup)).toEqual([ace(users, FileAccess.read)]);
    expect(child(both, true, creatorOwner)).toEqual([
      ace(alice, FileAccess.read),
      ace(creatorOwner, FileAccess.read, both | inheritOnly),
    ]);
  });

  test('generic rights become those of files here, and stay themselves for what comes below', () => {
    expect(child(both, true, everyone, Access.genericRead)).toEqual([
      ace(everyone, FileAccess.read),
      ace(everyone, Access.genericRead, both | inheritOnly),
    ]);
  });

  test('with nothing to inherit the owner and the system have it', () => {
    expect(child(0, false)).toEqual([ace(alice, FileAccess.all), ace(localSystem, FileAccess.all)]);
  });

  test('ACEs are marked as inherited where the parent is auto-inherited, and there alone', () => {
    const marked = ace(everyone, FileAccess.read, both | inherited);
    const plain = createDescriptor(descriptor(0, marked), undefined, file);
    expect(plain.dacl?.aces[0]?.flags).toBe(0);
    expect(plain.control & daclAutoInherited).toBe(0);
    const auto = createDescriptor(descriptor(daclAutoInherited, marked), undefined, file);
    expect(auto.dacl?.aces[0]?.flags).toBe(inherited);
    expect(auto.control & daclAutoInherited).toBe(daclAutoInherited);
  });
});

describe('createDescriptor with one of the creator', () => {
  const parent = ace(everyone, FileAccess.read, both);

  test('takes its parts, and the others from where they would come without it', () => {
    const created = createDescriptor(descriptor(0, parent), { control: 0, owner: bob }, file);
    expect(created).toMatchObject({ owner: bob, group: users, dacl: { aces: [ace(everyone, FileAccess.read)] } });
  });

  test('its ACL stands alone where nothing is inherited automatically', () => {
    const created = createDescriptor(descriptor(0, parent), descriptor(0, ace(bob, Access.genericRead)), file);
    expect(created.dacl?.aces).toEqual([ace(bob, FileAccess.read)]);
  });

  test('its ACL comes before what is inherited automatically, unless it is protected', () => {
    const own = [ace(bob, 1), ace(alice, 2, inherited)];
    const auto = descriptor(daclAutoInherited, parent);
    expect(createDescriptor(auto, descriptor(0, ...own), file).dacl?.aces).toEqual([
      ace(bob, 1),
      ace(everyone, FileAccess.read, inherited),
    ]);
    const kept = createDescriptor(auto, descriptor(daclProtected, ...own), file);
    expect(kept.dacl?.aces).toEqual(own);
    expect(kept.control & daclProtected).toBe(daclProtected);
  });

  test('no DACL at all stays that: everybody may do everything', () => {
    expect(createDescriptor(descriptor(0, parent), { control: 0, dacl: null }, file).dacl).toBeNull();
  });

  test('what a parent denies to all below it no child allows', () => {
    const aces = fc.array(
      fc.record({
        type: fc.constant(allow),
        flags: fc.constantFrom(0, objectInherit, both, both | inheritOnly),
        mask: fc.nat(FileAccess.all),
        sid: fc.constantFrom(alice, everyone, creatorOwner),
      }),
    );
    fc.assert(
      fc.property(aces, fc.boolean(), (allowed, isDirectory) => {
        const denied = ace(everyone, Access.writeData, both, deny);
        const child = createDescriptor(descriptor(0, denied, ...allowed), undefined, isDirectory ? folder : file);
        expect(maximalAccess(child, userToken(bob)) & Access.writeData).toBe(0);
      }),
    );
  });
});

describe('changedDescriptor', () => {
  const current: SecurityDescriptor = { ...descriptor(daclAutoInherited, ace(everyone, 1)), sacl: null };

  test('changes what is named and keeps the rest', () => {
    const change = { control: 0, owner: alice, group: alice, dacl: null };
    expect(changedDescriptor(current, change, SecurityInfo.owner)).toEqual({ ...current, owner: alice });
    expect(changedDescriptor(current, { control: 0 }, SecurityInfo.owner)).toEqual(current);
  });

  test('a DACL that is set without being there is NULL, a SACL is gone', () => {
    const changed = changedDescriptor(current, { control: 0 }, SecurityInfo.dacl | SecurityInfo.sacl);
    expect(changed).toEqual({ ...descriptor(0), dacl: null });
  });

  test.each([
    [daclAutoInherited, 0],
    [daclAutoInheritReq, 0],
    [daclAutoInherited | daclAutoInheritReq, daclAutoInherited],
    [daclProtected, daclProtected],
  ])('control bits %i of a DACL become %i', (set, kept) => {
    expect(changedDescriptor(current, descriptor(set, ace(bob, 1)), SecurityInfo.dacl).control).toBe(kept);
  });

  test('generic rights are mapped, the order of ACEs stays, CREATOR OWNER stays itself', () => {
    const aces = [ace(bob, Access.genericRead), ace(everyone, 1, 0, deny), ace(creatorOwner, Access.genericAll, 0xb)];
    const { dacl } = changedDescriptor(current, descriptor(0, ...aces), SecurityInfo.dacl);
    expect(dacl?.aces).toEqual([ace(bob, FileAccess.read), ...aces.slice(1)]);
  });
});
