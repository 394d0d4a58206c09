import { describe, expect, test } from '@jest/globals';
import type { Sid } from '../security/sid.ts';
import { Status } from '../status.ts';
import { WireError } from '../wire/errors.ts';
import { closePolicy, lookupNames, lookupSids, openPolicy, queryPolicy, type RpcAccounts } from './lsa.ts';
import { NdrReader, NdrWriter } from './ndr.ts';

const alice = { name: 'alice', sid: 'S-1-5-21-1-2-3-1001' };
const accounts: RpcAccounts = {
  domainName: 'FILES',
  domainSid: 'S-1-5-21-1-2-3',
  byName: (name) => (name.toLowerCase() === 'alice' ? alice : undefined),
  bySid: (sid) => (sid === alice.sid ? alice : undefined),
};
const HANDLE_SIZE = 20;
const policy = openPolicy().subarray(0, HANDLE_SIZE);

/** The domains at the beginning of an answer, as `name sid`. */
function readDomains(reader: NdrReader): string[] {
  expect(reader.u32()).not.toBe(0);
  const count = reader.u32();
  const isThere = reader.u32() !== 0;
  reader.u32(); // the most that there may be
  if (!isThere) return [];
  reader.u32();
  for (let i = 0; i < count; i++) for (let field = 0; field < 3; field++) reader.u32();
  return Array.from({ length: count }, () => `${reader.string()} ${readSid(reader)}`);
}

function readSid(reader: NdrReader): Sid {
  const [subAuthorities, head] = [reader.u32(), reader.raw(8)];
  const rest = Array.from({ length: subAuthorities }, () => reader.u32());
  return ['S-1', head.readUIntBE(2, 6), ...rest].join('-');
}

/** What LookupSids says of each: `use name @domain`. */
function namesOf(sids: readonly Sid[], extended = false) {
  const stub = new NdrWriter().raw(policy).u32(sids.length).pointer().u32(sids.length);
  for (const _ of sids) stub.pointer();
  for (const sid of sids) stub.sid(sid);
  const reader = new NdrReader(lookupSids(extended)(accounts, stub.bytes()));
  const domains = readDomains(reader);
  expect(reader.u32()).toBe(sids.length);
  reader.u32();
  expect(reader.u32()).toBe(sids.length);
  const heads = sids.map(() => {
    const use = reader.u16();
    reader.u32();
    reader.u32();
    const domain = domains[reader.u32()]?.split(' ')[0] ?? 'none';
    if (extended) reader.u32();
    return { use, domain };
  });
  const names = heads.map(({ use, domain }) => `${use} ${reader.string()} @${domain}`);
  return { names, mapped: reader.u32(), status: reader.u32() };
}

describe('names of SIDs', () => {
  test.each([false, true])('are those of users, of well-known groups and of domains (extended: %s)', (extended) => {
    const sids = [alice.sid, 'S-1-1-0', 'S-1-3-0', 'S-1-5-11', 'S-1-5-32-544', accounts.domainSid];
    expect(namesOf(sids, extended)).toEqual({
      names: [
        '1 alice @FILES',
        '5 Everyone @',
        '5 CREATOR OWNER @',
        '5 Authenticated Users @NT',
        '4 Administrators @BUILTIN',
        '3  @FILES',
      ],
      mapped: 6,
      status: Status.SUCCESS,
    });
  });

  test('that nobody has are told, all together or some', () => {
    const unknown = 'S-1-5-21-9-9-9-1001';
    expect(namesOf([unknown])).toEqual({ names: [`8 ${unknown} @none`], mapped: 0, status: Status.NONE_MAPPED });
    expect(namesOf([unknown, alice.sid])).toMatchObject({ mapped: 1, status: Status.SOME_NOT_MAPPED });
  });
});

describe('SIDs of names', () => {
  const request = (names: readonly string[]) => {
    const stub = new NdrWriter().raw(policy).u32(names.length).u32(names.length);
    for (const name of names) stub.stringHead(name);
    for (const name of names) stub.stringBody(name);
    return stub.bytes();
  };
  const sidsOf = (names: readonly string[]) => {
    const reader = new NdrReader(lookupNames('whole')(accounts, request(names)));
    readDomains(reader);
    reader.u32();
    reader.u32();
    reader.u32();
    const isThere = names.map(() => {
      reader.u16();
      const pointer = reader.u32();
      reader.u32();
      reader.u32();
      return pointer !== 0;
    });
    return isThere.map((there) => (there ? readSid(reader) : undefined));
  };

  test('are found with a domain and without, in any case', () => {
    const names = ['alice', 'FILES\\Alice', 'alice@files', 'everyone', 'NT AUTHORITY\\system', 'builtin\\users'];
    expect(sidsOf(names)).toEqual([...[alice.sid, alice.sid, alice.sid], ...['S-1-1-0', 'S-1-5-18', 'S-1-5-32-545']]);
  });

  test('of another domain, or that nobody has, are none', () => {
    expect(sidsOf(['OTHER\\alice', 'bob', ''])).toEqual([undefined, undefined, undefined]);
  });

  test.each(['relative', 'relativeWithFlags'] as const)(
    'are given as relative ids to those who ask so (%s)',
    (form) => {
      const reader = new NdrReader(lookupNames(form)(accounts, request(['alice'])));
      expect(readDomains(reader)).toEqual([`FILES ${accounts.domainSid}`]);
      expect([reader.u32(), reader.u32() !== 0, reader.u32()]).toEqual([1, true, 1]);
      expect([reader.u16(), reader.u32(), reader.u32()]).toEqual([1, 1001, 0]);
      if (form === 'relativeWithFlags') reader.u32();
      expect([reader.u32(), reader.u32()]).toEqual([1, Status.SUCCESS]);
    },
  );
});

describe('a policy handle', () => {
  test('is needed, and closed', () => {
    const stub = new NdrWriter().raw(Buffer.alloc(HANDLE_SIZE)).u32(0).null().bytes();
    expect(() => lookupSids(false)(accounts, stub)).toThrow(WireError);
    expect(() => lookupNames('whole')(accounts, stub)).toThrow(WireError);
    expect(closePolicy(accounts, policy)).toEqual(Buffer.alloc(HANDLE_SIZE + 4));
  });

  test('tells the domain of the accounts', () => {
    const reader = new NdrReader(queryPolicy(accounts, new NdrWriter().raw(policy).u16(5).bytes()));
    expect([reader.u32() !== 0, reader.u16()]).toEqual([true, 5]);
    for (let field = 0; field < 3; field++) reader.u32();
    expect([reader.string(), readSid(reader), reader.u32()]).toEqual(['FILES', accounts.domainSid, Status.SUCCESS]);
  });
});
