// Names of SIDs and SIDs of names: what a client needs of MS-LSAT and MS-LSAD to show and to set who may do what with a file.
import { foldCase } from '../fscc/names.ts';
import { type Sid, wellKnownSids } from '../security/sid.ts';
import { Status } from '../status.ts';
import { WireError } from '../wire/errors.ts';
import { NdrReader, NdrWriter } from './ndr.ts';

/** SID_NAME_USE (MS-LSAT 2.2.13). */
const Use = { user: 1, domain: 3, alias: 4, wellKnownGroup: 5, unknown: 8 } as const;

/** Who may log on, and the domain that their SIDs have in common. */
export interface RpcAccounts {
  readonly domainName: string;
  readonly domainSid: Sid;
  /** As the name is written; undefined: nobody. Without regard to case. */
  byName(name: string): { name: string; sid: Sid } | undefined;
  bySid(sid: Sid): { name: string; sid: Sid } | undefined;
}

interface Principal {
  use: number;
  domain: { name: string; sid: Sid };
  name: string;
  sid: Sid;
}

const authority = { name: 'NT AUTHORITY', sid: 'S-1-5' };
const builtin = { name: 'BUILTIN', sid: 'S-1-5-32' };
const world = { name: '', sid: 'S-1-1' };
const creator = { name: '', sid: 'S-1-3' };
const wellKnown = (
  domain: Principal['domain'],
  sid: Sid,
  name: string,
  use: number = Use.wellKnownGroup,
): Principal => ({
  use,
  domain,
  name,
  sid,
});
const WELL_KNOWN: readonly Principal[] = [
  wellKnown(world, wellKnownSids.everyone, 'Everyone'),
  wellKnown(creator, wellKnownSids.creatorOwner, 'CREATOR OWNER'),
  wellKnown(creator, wellKnownSids.creatorGroup, 'CREATOR GROUP'),
  wellKnown(creator, wellKnownSids.ownerRights, 'OWNER RIGHTS'),
  wellKnown(authority, wellKnownSids.network, 'NETWORK'),
  wellKnown(authority, wellKnownSids.anonymous, 'ANONYMOUS LOGON'),
  wellKnown(authority, wellKnownSids.authenticatedUsers, 'Authenticated Users'),
  wellKnown(authority, wellKnownSids.localSystem, 'SYSTEM'),
  wellKnown(builtin, wellKnownSids.administrators, 'Administrators', Use.alias),
  wellKnown(builtin, wellKnownSids.users, 'Users', Use.alias),
  wellKnown(builtin, wellKnownSids.guests, 'Guests', Use.alias),
];
const BY_SID = new Map(WELL_KNOWN.map((principal) => [principal.sid, principal]));

/** The one policy handle: it lets its holder do what everybody may who has the pipe, and holds nothing. */
const POLICY = Buffer.from('00000000486f6c64666173742d6c736172706331', 'hex');
const CLOSED = Buffer.alloc(POLICY.length);
/** What Windows takes at once (MS-LSAT 3.1.4.5, 3.1.4.11). */
const MOST_NAMES = 1000;
const MOST_SIDS = 20_480;

const ownDomain = ({ domainName, domainSid }: RpcAccounts) => ({ name: domainName, sid: domainSid });

function principalOfSid(accounts: RpcAccounts, sid: Sid): Principal | undefined {
  const known = BY_SID.get(sid);
  if (known) return known;
  const account = accounts.bySid(sid);
  if (account) return { use: Use.user, domain: ownDomain(accounts), ...account };
  const domains = [ownDomain(accounts), builtin];
  const domain = domains.find((candidate) => candidate.sid === sid);
  return domain && { use: Use.domain, domain, name: '', sid };
}

/** `DOMAIN\name`, `name@domain` or `name`. */
function principalOfName(accounts: RpcAccounts, text: string): Principal | undefined {
  const cut = text.indexOf('\\');
  const at = cut < 0 ? text.lastIndexOf('@') : -1;
  const name = cut >= 0 ? text.slice(cut + 1) : at > 0 ? text.slice(0, at) : text;
  const within = foldCase(cut >= 0 ? text.slice(0, cut) : at > 0 ? text.slice(at + 1) : '');
  const isOf = (domain: string) => within === '' || within === foldCase(domain);
  const folded = foldCase(name);
  const known = WELL_KNOWN.find((one) => isOf(one.domain.name) && foldCase(one.name) === folded);
  if (known) return known;
  const account = isOf(accounts.domainName) ? accounts.byName(name) : undefined;
  if (account) return { use: Use.user, domain: ownDomain(accounts), ...account };
  const isDomain = within === '' && folded === foldCase(accounts.domainName);
  return isDomain ? { use: Use.domain, domain: ownDomain(accounts), name: '', sid: accounts.domainSid } : undefined;
}

/** LsarOpenPolicy and LsarOpenPolicy2 (MS-LSAD 3.1.4.4.1): whatever name and access are asked for. */
export function openPolicy(): Buffer {
  return new NdrWriter().raw(POLICY).u32(Status.SUCCESS).bytes();
}

/** LsarClose (MS-LSAD 3.1.4.9.4). */
export function closePolicy(_accounts: RpcAccounts, stub: Buffer): Buffer {
  const isOpen = new NdrReader(stub).raw(POLICY.length).equals(POLICY);
  return new NdrWriter()
    .raw(CLOSED)
    .u32(isOpen ? Status.SUCCESS : Status.INVALID_HANDLE)
    .bytes();
}

function openHandle(reader: NdrReader): void {
  if (!reader.raw(POLICY.length).equals(POLICY)) throw new WireError('LSA: no policy handle');
}

const PRIMARY_DOMAIN = 3;
const ACCOUNT_DOMAIN = 5;

/** LsarQueryInformationPolicy and its second version (MS-LSAD 3.1.4.4.4): the domain of the accounts. */
export function queryPolicy(accounts: RpcAccounts, stub: Buffer): Buffer {
  const reader = new NdrReader(stub);
  openHandle(reader);
  const what = reader.u16();
  const out = new NdrWriter();
  if (what !== PRIMARY_DOMAIN && what !== ACCOUNT_DOMAIN) return out.null().u32(Status.INVALID_PARAMETER).bytes();
  out.pointer().u16(what);
  out.stringHead(accounts.domainName).pointer();
  out.stringBody(accounts.domainName).sid(accounts.domainSid);
  return out.u32(Status.SUCCESS).bytes();
}

/** Which domains the principals are of; an index for each, -1 where there is none. */
function domainsOf(found: readonly (Principal | undefined)[]): { domains: Principal['domain'][]; indexes: number[] } {
  const domains: Principal['domain'][] = [];
  const indexes = found.map((principal) => {
    if (principal === undefined) return -1;
    const { domain } = principal;
    const index = domains.findIndex(({ sid }) => sid === domain.sid);
    return index >= 0 ? index : domains.push(domain) - 1;
  });
  return { domains, indexes };
}

/** LSAPR_REFERENCED_DOMAIN_LIST (MS-LSAT 2.2.12), by a pointer. */
function writeDomains(out: NdrWriter, domains: readonly Principal['domain'][]): void {
  out.pointer().u32(domains.length);
  if (domains.length === 0) {
    out.null().u32(0);
    return;
  }
  out.pointer().u32(domains.length).u32(domains.length);
  for (const { name } of domains) out.stringHead(name).pointer();
  for (const { name, sid } of domains) out.stringBody(name).sid(sid);
}

function finish(out: NdrWriter, found: readonly (Principal | undefined)[]): Buffer {
  const mapped = found.filter((principal) => principal !== undefined).length;
  out.u32(mapped);
  if (mapped === found.length) return out.u32(Status.SUCCESS).bytes();
  return out.u32(mapped === 0 ? Status.NONE_MAPPED : Status.SOME_NOT_MAPPED).bytes();
}

/** LsarLookupSids (MS-LSAT 3.1.4.11); with `extended` LsarLookupSids2 (3.1.4.10). */
export const lookupSids =
  (extended: boolean) =>
  (accounts: RpcAccounts, stub: Buffer): Buffer => {
    const reader = new NdrReader(stub);
    openHandle(reader);
    const sids = reader.sidList(MOST_SIDS);
    const found = sids.map((sid) => principalOfSid(accounts, sid));
    const { domains, indexes } = domainsOf(found);
    const out = new NdrWriter();
    writeDomains(out, domains);
    // What has no name is shown as it is.
    const names = found.map((principal, i) => principal?.name ?? sids[i] ?? '');
    out.u32(names.length).pointer().u32(names.length);
    for (const [i, name] of names.entries()) {
      out
        .u16(found[i]?.use ?? Use.unknown)
        .stringHead(name)
        .u32(indexes[i] ?? -1);
      if (extended) out.u32(0);
    }
    for (const name of names) out.stringBody(name);
    return finish(out, found);
  };

/** How LsarLookupNames, 2 and 3 give a SID back. */
type SidForm = 'relative' | 'relativeWithFlags' | 'whole';

const ridOf = ({ sid, use }: Principal): number =>
  use === Use.domain ? 0xffff_ffff : Number(sid.slice(sid.lastIndexOf('-') + 1));

/** LsarLookupNames (MS-LSAT 3.1.4.8), LsarLookupNames2 (3.1.4.7) and LsarLookupNames3 (3.1.4.6). */
export const lookupNames =
  (form: SidForm) =>
  (accounts: RpcAccounts, stub: Buffer): Buffer => {
    const reader = new NdrReader(stub);
    openHandle(reader);
    const found = reader.stringList(MOST_NAMES).map((name) => principalOfName(accounts, name));
    const { domains, indexes } = domainsOf(found);
    const out = new NdrWriter();
    writeDomains(out, domains);
    out.u32(found.length).pointer().u32(found.length);
    for (const [i, principal] of found.entries()) {
      out.u16(principal?.use ?? Use.unknown);
      if (form !== 'whole') out.u32(principal ? ridOf(principal) : 0);
      else if (principal) out.pointer();
      else out.null();
      out.u32(indexes[i] ?? -1);
      if (form !== 'relative') out.u32(0);
    }
    if (form === 'whole') for (const principal of found) if (principal) out.sid(principal.sid);
    return finish(out, found);
  };
