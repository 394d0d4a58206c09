import { closePolicy, lookupNames, lookupSids, openPolicy, queryPolicy, type RpcAccounts } from './lsa.ts';
import { NdrReader, NdrWriter } from './ndr.ts';
import { type SyntaxId, syntax } from './pdu.ts';

/** What a pipe instance answers about: the shares and the server's name. */
export interface RpcShare {
  name: string;
  /** ShareType, | ShareType.special for administrative shares. */
  type: number;
  comment: string;
  /** SHI1005_FLAGS_* (MS-SRVS 2.2.4.29); the default is 0. */
  flags?: number;
}

/** MS-SRVS 2.2.2.4. */
export const ShareType = { disk: 0, printQueue: 1, device: 2, ipc: 3, special: 0x80000000 } as const;

export interface RpcServerOptions {
  shares: () => readonly RpcShare[];
  accounts: RpcAccounts;
  serverName: string;
  /** Workgroup or domain that NetrWkstaGetInfo names; the default is WORKGROUP. */
  domainName?: string;
}

/** Takes the stub of a request and gives the stub of the response. Throws WireError on a malformed stub. */
export type Operation = (options: RpcServerOptions, stub: Buffer) => Buffer;

export interface RpcInterface {
  syntax: SyntaxId;
  operations: ReadonlyMap<number, Operation>;
}

/** Win32 and network management errors that operations return (MS-ERREF 2.2, MS-SRVS 2.2.2.11). */
const Win32 = { success: 0, accessDenied: 5, invalidLevel: 124, shareNotFound: 2310 } as const;

/** Levels that are for administrators alone, and none logs on here. */
const administratorLevels = { share: [2, 502, 503], server: [102, 103, 502, 503], workstation: [102, 502] };

const platformNt = 500;
/** Workstation, server, NT and NT server (MS-SRVS 2.2.2.7). */
const serverType = 0x9003;

const refusal = (administrative: readonly number[], level: number): number =>
  administrative.includes(level) ? Win32.accessDenied : Win32.invalidLevel;

/** NetrShareEnum (MS-SRVS 3.1.4.8), levels 0, 1 and 501. All is returned at once, whatever size the client prefers. */
function netrShareEnum(options: RpcServerOptions, stub: Buffer): Buffer {
  const reader = new NdrReader(stub);
  reader.uniqueString();
  const level = reader.u32();
  const out = new NdrWriter().u32(level).u32(level);
  if (level !== 0 && level !== 1 && level !== 501) {
    if (administratorLevels.share.includes(level)) out.null();
    return out.u32(0).null().u32(refusal(administratorLevels.share, level)).bytes();
  }
  const first = readResumeHandle(reader);
  const shares = options.shares().slice(first ?? 0);
  out.pointer().u32(shares.length).pointer().u32(shares.length);
  for (const { type, flags } of shares) {
    out.pointer();
    if (level !== 0) out.u32(type).pointer();
    if (level === 501) out.u32(flags ?? 0);
  }
  for (const { name, comment } of shares) {
    out.string(name);
    if (level !== 0) out.string(comment);
  }
  out.u32(shares.length);
  if (first === undefined) out.null();
  else out.pointer().u32(0);
  return out.u32(Win32.success).bytes();
}

/** The resume handle behind the level; undefined when the client gives none. */
function readResumeHandle(reader: NdrReader): number | undefined {
  reader.u32(); // discriminant of the union, the level again
  if (reader.u32() !== 0) {
    reader.u32(); // EntriesRead, of no meaning here
    if (reader.u32() !== 0) reader.u32(); // an empty array's size
  }
  reader.u32(); // PreferedMaximumLength
  return reader.u32() === 0 ? undefined : reader.u32();
}

/** NetrShareGetInfo (MS-SRVS 3.1.4.10), levels 0, 1, 2, 501 and 1005. */
function netrShareGetInfo(options: RpcServerOptions, stub: Buffer): Buffer {
  const reader = new NdrReader(stub);
  reader.uniqueString();
  const wanted = reader.string().toUpperCase();
  const level = reader.u32();
  const share = options.shares().find(({ name }) => name.toUpperCase() === wanted);
  const out = new NdrWriter().u32(level);
  if (share === undefined) return out.null().u32(Win32.shareNotFound).bytes();
  switch (level) {
    case 0:
      out.pointer().pointer().string(share.name);
      break;
    case 1:
      out.pointer().pointer().u32(share.type).pointer().string(share.name).string(share.comment);
      break;
    case 2:
      // Permissions, uses (no limit, and not told), path (not told) and no password.
      out.pointer().pointer().u32(share.type).pointer().u32(0).u32(0xffffffff).u32(0).pointer().null();
      out.string(share.name).string(share.comment).string('');
      break;
    case 501:
      out.pointer().pointer().u32(share.type).pointer();
      out
        .u32(share.flags ?? 0)
        .string(share.name)
        .string(share.comment);
      break;
    case 1005:
      out.pointer().u32(share.flags ?? 0);
      break;
    default:
      return out.null().u32(refusal(administratorLevels.share, level)).bytes();
  }
  return out.u32(Win32.success).bytes();
}

/** NetrServerGetInfo (MS-SRVS 3.1.4.17), levels 100 and 101. */
function netrServerGetInfo(options: RpcServerOptions, stub: Buffer): Buffer {
  const reader = new NdrReader(stub);
  reader.uniqueString();
  const level = reader.u32();
  const out = new NdrWriter().u32(level);
  if (level === 100) {
    out.pointer().u32(platformNt).pointer().string(options.serverName);
  } else if (level === 101) {
    out.pointer().u32(platformNt).pointer().u32(10).u32(0).u32(serverType).pointer();
    out.string(options.serverName).string('');
  } else {
    return out.null().u32(refusal(administratorLevels.server, level)).bytes();
  }
  return out.u32(Win32.success).bytes();
}

/** NetrWkstaGetInfo (MS-WKST 3.2.4.1), levels 100 and 101. */
function netrWkstaGetInfo(options: RpcServerOptions, stub: Buffer): Buffer {
  const reader = new NdrReader(stub);
  reader.uniqueString();
  const level = reader.u32();
  const out = new NdrWriter().u32(level);
  if (level !== 100 && level !== 101) return out.null().u32(refusal(administratorLevels.workstation, level)).bytes();
  out.pointer().u32(platformNt).pointer().pointer().u32(10).u32(0);
  if (level === 101) out.pointer();
  out.string(options.serverName).string(options.domainName ?? 'WORKGROUP');
  // Where the software is installed is nobody's business.
  if (level === 101) out.string('');
  return out.u32(Win32.success).bytes();
}

export const srvsvcOperation = { shareEnum: 15, shareGetInfo: 16, serverGetInfo: 21, shareEnumSticky: 36 } as const;

const onAccounts =
  (operation: (accounts: RpcAccounts, stub: Buffer) => Buffer): Operation =>
  ({ accounts }, stub) =>
    operation(accounts, stub);

/** Every interface that is served. */
export const interfaces: readonly RpcInterface[] = [
  {
    syntax: syntax.srvsvc,
    operations: new Map([
      [srvsvcOperation.shareEnum, netrShareEnum],
      [srvsvcOperation.shareGetInfo, netrShareGetInfo],
      [srvsvcOperation.serverGetInfo, netrServerGetInfo],
      [srvsvcOperation.shareEnumSticky, netrShareEnum],
    ]),
  },
  { syntax: syntax.wkssvc, operations: new Map([[0, netrWkstaGetInfo]]) },
  {
    syntax: syntax.lsarpc,
    operations: new Map([
      [0, onAccounts(closePolicy)],
      [6, openPolicy],
      [7, onAccounts(queryPolicy)],
      [14, onAccounts(lookupNames('relative'))],
      [15, onAccounts(lookupSids(false))],
      [44, openPolicy],
      [46, onAccounts(queryPolicy)],
      [57, onAccounts(lookupSids(true))],
      [58, onAccounts(lookupNames('relativeWithFlags'))],
      [68, onAccounts(lookupNames('whole'))],
    ]),
  },
];
