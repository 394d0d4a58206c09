import { readFileSync } from 'node:fs';
import { HoldfastError, reasonOf } from './errors.ts';
import { LOG_LEVELS, type LogLevel } from './logging.ts';

/** Servers go on without the store for so long at most, and for so many leases. */
const MAX_EXTENSION_MS = 30_000;
const EXTENSION_IN_LEASES = 6;

/** What failover.maxExtensionMs is where nobody sets it. */
export function defaultExtensionMs(leaseDurationMs: number): number {
  return Math.min(MAX_EXTENSION_MS, EXTENSION_IN_LEASES * leaseDurationMs);
}

/**
 * What file server and sidecar of one cluster share: the file `config.json` that the operator renders into a ConfigMap and
 * `holdfast serve` writes into its folder. It is read again when it changes: shares, their access and the log level take effect
 * at once, the rest needs a restart. Secrets are never in it: they are files, named on the command line.
 */
export interface ClusterConfig {
  /** UID of the FileServerCluster; prefix of every key in Redis. */
  clusterId: string;
  clusterName: string;
  volumes: VolumeConfig[];
  shares: ShareConfig[];
  security: SecurityConfig;
  /** What differs from the defaults (docs/limits.md). */
  limits?: LimitsConfig;
  handles: { persistentTimeoutMs: number; durableTimeoutMs: number };
  /** maxExtensionMs: so long servers go on without the store while all promise not to fence one another; 0: not at all. */
  failover: { leaseDurationMs: number; writeSettleMs: number; maxExtensionMs: number };
  store: StoreConfig;
  /** What the processes log; left out: what HOLDFAST_LOG_LEVEL says, else info. */
  logLevel?: LogLevel;
}

export type Fencing = 'Deadline' | 'NodeProven' | 'NetworkFence';

export interface VolumeConfig {
  name: string;
  /** Where it is mounted in the file server's container. */
  path: string;
  fencing: Fencing;
  /** Overrides what the file system's type says about caches being coherent between nodes. */
  coherent?: boolean;
}

export type Permission = 'Full' | 'Change' | 'Read';

export interface ShareConfig {
  name: string;
  volume: string;
  /** Folder within the volume, beginning with "/". */
  path: string;
  comment?: string;
  continuouslyAvailable: boolean;
  scaleOut: boolean;
  /** Listings show a user only what they may read; left out: all. */
  accessBasedEnumeration?: boolean;
  encryption: 'Required' | 'Desired' | 'Off';
  /** Nobody else gets in. The principal "*" means every user. */
  access: { principal: string; permission: Permission }[];
}

export interface SecurityConfig {
  signing: 'Required' | 'Desired';
  minDialect: '2.0.2' | '2.1' | '3.0' | '3.0.2' | '3.1.1';
  /** Required: every session is encrypted, whatever its shares want, and clients that cannot are refused. */
  encryption?: 'Required' | 'Desired';
  /** Clients without name and password may open IPC$, and nothing else: enough to list the shares. */
  anonymousIpc?: boolean;
}

/** The names of the limits of one user; each file server process counts for itself. */
const USER_LIMITS = ['connections', 'sessions', 'opens', 'requests', 'waitingRequests', 'bytesInFlight'] as const;
/** Those of the whole process. */
const SERVER_LIMITS = [...USER_LIMITS, 'connectionsBeforeLogon'] as const;

export type LimitsConfig = Partial<Record<(typeof SERVER_LIMITS)[number], number>> & {
  perUser?: Partial<Record<(typeof USER_LIMITS)[number], number>>;
};

export type Durability = { mode: 'Always' | 'EverySecond' } | { mode: 'Replicated'; replicas: number };

export interface StoreConfig {
  mode: 'Standalone' | 'Sentinel' | 'Cluster';
  /** host:port, at least one. */
  addresses: string[];
  /** Sentinel only. */
  masterName?: string;
  username?: string;
  /** certFile and keyFile: what Redis knows its clients by, where it asks for that (tls-auth-clients). */
  tls?: { caFile?: string; serverName?: string; certFile?: string; keyFile?: string };
  durability: Durability;
}

/**
 * Reads and checks a configuration file.
 * @throws HoldfastError with code CONFIG: the message names the file, the field and what to write
 */
export function readClusterConfig(path: string): ClusterConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new HoldfastError('CONFIG', `cannot read the configuration ${path}: ${reasonOf(error)}`, { cause: error });
  }
  try {
    return checkClusterConfig(JSON.parse(text));
  } catch (error) {
    throw new HoldfastError('CONFIG', `the configuration ${path} cannot be used: ${reasonOf(error)}`, { cause: error });
  }
}

/** Checks what was parsed from a configuration file, field by field. Throws RangeError naming the field. */
export function checkClusterConfig(input: unknown): ClusterConfig {
  const root = object(input, 'the file');
  const volumes = list(root.volumes, 'volumes').map((entry, i): VolumeConfig => {
    const at = `volumes[${i}]`;
    const v = object(entry, at);
    const coherent = v.coherent === undefined ? undefined : boolean(v.coherent, `${at}.coherent`);
    return {
      name: text(v.name, `${at}.name`),
      path: absolute(v.path, `${at}.path`),
      fencing: oneOf(v.fencing ?? 'Deadline', ['Deadline', 'NodeProven', 'NetworkFence'], `${at}.fencing`),
      ...(coherent === undefined ? {} : { coherent }),
    };
  });
  const shares = list(root.shares, 'shares').map((entry, i): ShareConfig => {
    const at = `shares[${i}]`;
    const s = object(entry, at);
    const volume = text(s.volume, `${at}.volume`);
    if (!volumes.some((v) => v.name === volume)) throw new RangeError(`${at}.volume: there is no volume "${volume}"`);
    return {
      name: text(s.name, `${at}.name`),
      volume,
      path: absolute(s.path ?? '/', `${at}.path`),
      ...(s.comment === undefined ? {} : { comment: text(s.comment, `${at}.comment`) }),
      continuouslyAvailable: boolean(s.continuouslyAvailable ?? false, `${at}.continuouslyAvailable`),
      scaleOut: boolean(s.scaleOut ?? false, `${at}.scaleOut`),
      ...(s.accessBasedEnumeration === undefined
        ? {}
        : { accessBasedEnumeration: boolean(s.accessBasedEnumeration, `${at}.accessBasedEnumeration`) }),
      encryption: oneOf(s.encryption ?? 'Desired', ['Required', 'Desired', 'Off'], `${at}.encryption`),
      access: list(s.access ?? [], `${at}.access`).map((a, j) => {
        const rule = object(a, `${at}.access[${j}]`);
        return {
          principal: text(rule.principal, `${at}.access[${j}].principal`),
          permission: oneOf(rule.permission, ['Full', 'Change', 'Read'], `${at}.access[${j}].permission`),
        };
      }),
    };
  });
  const names = shares.map((share) => share.name.toLowerCase());
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new RangeError(`shares: two shares are named "${twice}"`);
  const security = object(root.security ?? {}, 'security');
  const handles = object(root.handles ?? {}, 'handles');
  const failover = object(root.failover ?? {}, 'failover');
  const leaseDurationMs = count(failover.leaseDurationMs ?? 5000, 'failover.leaseDurationMs', 1000);
  return {
    clusterId: text(root.clusterId, 'clusterId'),
    clusterName: text(root.clusterName, 'clusterName'),
    volumes,
    shares,
    security: {
      signing: oneOf(security.signing ?? 'Required', ['Required', 'Desired'], 'security.signing'),
      minDialect: oneOf(security.minDialect ?? '3.0', ['2.0.2', '2.1', '3.0', '3.0.2', '3.1.1'], 'security.minDialect'),
      ...(security.encryption === undefined
        ? {}
        : { encryption: oneOf(security.encryption, ['Required', 'Desired'], 'security.encryption') }),
      ...(security.anonymousIpc === undefined
        ? {}
        : { anonymousIpc: boolean(security.anonymousIpc, 'security.anonymousIpc') }),
    },
    ...(root.limits === undefined ? {} : { limits: limitsConfig(object(root.limits, 'limits')) }),
    handles: {
      persistentTimeoutMs: count(handles.persistentTimeoutMs ?? 300_000, 'handles.persistentTimeoutMs', 1000),
      durableTimeoutMs: count(handles.durableTimeoutMs ?? 60_000, 'handles.durableTimeoutMs', 1000),
    },
    failover: {
      leaseDurationMs,
      writeSettleMs: count(failover.writeSettleMs ?? 1000, 'failover.writeSettleMs', 0),
      maxExtensionMs: count(
        failover.maxExtensionMs ?? defaultExtensionMs(leaseDurationMs),
        'failover.maxExtensionMs',
        0,
      ),
    },
    store: storeConfig(object(root.store, 'store')),
    ...(root.logLevel === undefined ? {} : { logLevel: oneOf(root.logLevel, LOG_LEVELS, 'logLevel') }),
  };
}

/**
 * Reads and checks a file that holds the part `store` of a configuration alone.
 * @throws HoldfastError with code CONFIG
 */
export function readStoreConfig(path: string): StoreConfig {
  try {
    return storeConfig(object(JSON.parse(readFileSync(path, 'utf8')), 'the file'));
  } catch (error) {
    throw new HoldfastError('CONFIG', `the store's configuration ${path} cannot be used: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

function limitsConfig(l: Record<string, unknown>): LimitsConfig {
  const limits: LimitsConfig = counts(l, SERVER_LIMITS, 'limits');
  if (l.perUser !== undefined)
    limits.perUser = counts(object(l.perUser, 'limits.perUser'), USER_LIMITS, 'limits.perUser');
  return limits;
}

/** The fields of these names that are there; each a whole number of at least 1. */
function counts<const N extends string>(
  from: Record<string, unknown>,
  names: readonly N[],
  at: string,
): Partial<Record<N, number>> {
  const found: Partial<Record<N, number>> = {};
  for (const name of names) if (from[name] !== undefined) found[name] = count(from[name], `${at}.${name}`, 1);
  return found;
}

function storeConfig(s: Record<string, unknown>): StoreConfig {
  const addresses = list(s.addresses, 'store.addresses').map((a, i) => text(a, `store.addresses[${i}]`));
  if (addresses.length === 0) throw new RangeError('store.addresses: name at least one HOST:PORT');
  const d = object(s.durability ?? { mode: 'Always' }, 'store.durability');
  const mode = oneOf(d.mode, ['Always', 'EverySecond', 'Replicated'], 'store.durability.mode');
  const tls = s.tls === undefined ? undefined : object(s.tls, 'store.tls');
  if (tls && (tls.certFile === undefined) !== (tls.keyFile === undefined)) {
    throw new RangeError('store.tls: write certFile and keyFile both, or neither');
  }
  return {
    mode: oneOf(s.mode ?? 'Standalone', ['Standalone', 'Sentinel', 'Cluster'], 'store.mode'),
    addresses,
    ...(s.masterName === undefined ? {} : { masterName: text(s.masterName, 'store.masterName') }),
    ...(s.username === undefined ? {} : { username: text(s.username, 'store.username') }),
    ...(tls === undefined
      ? {}
      : {
          tls: {
            ...(tls.caFile === undefined ? {} : { caFile: absolute(tls.caFile, 'store.tls.caFile') }),
            ...(tls.serverName === undefined ? {} : { serverName: text(tls.serverName, 'store.tls.serverName') }),
            ...(tls.certFile === undefined ? {} : { certFile: absolute(tls.certFile, 'store.tls.certFile') }),
            ...(tls.keyFile === undefined ? {} : { keyFile: absolute(tls.keyFile, 'store.tls.keyFile') }),
          },
        }),
    durability:
      mode === 'Replicated' ? { mode, replicas: count(d.replicas, 'store.durability.replicas', 1) } : { mode },
  };
}

function object(value: unknown, at: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new RangeError(`${at}: must be an object`);
  return value as Record<string, unknown>;
}

function list(value: unknown, at: string): unknown[] {
  if (!Array.isArray(value)) throw new RangeError(`${at}: must be a list`);
  return value;
}

function text(value: unknown, at: string): string {
  if (typeof value !== 'string' || value === '') throw new RangeError(`${at}: must be a text that is not empty`);
  return value;
}

function absolute(value: unknown, at: string): string {
  const path = text(value, at);
  if (!path.startsWith('/')) throw new RangeError(`${at}: must begin with "/"`);
  return path;
}

function boolean(value: unknown, at: string): boolean {
  if (typeof value !== 'boolean') throw new RangeError(`${at}: must be true or false`);
  return value;
}

function count(value: unknown, at: string, min: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min) {
    throw new RangeError(`${at}: must be a whole number of at least ${min}`);
  }
  return value;
}

function oneOf<const T extends string>(value: unknown, allowed: readonly T[], at: string): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) throw new RangeError(`${at}: must be one of ${allowed.join(', ')}`);
  return found;
}
