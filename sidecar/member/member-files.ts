import { defaultUser } from '../../common/store-access.ts';
import { type Address, type Membership, quorumOf } from './members.ts';

/** What the operator wrote, and who may come in. */
export interface Settings {
  /** Lines of redis.conf that are the same for all members. */
  redis: string;
  /** Lines of sentinel.conf that are; those about the primary have its name. */
  sentinel: string;
  /** What this member shows to others. */
  password: string;
  /** What others may show to it; the password among them. */
  accepted: string[];
  /** Whether they are spoken to by TLS alone; the operator's lines name the certificates then. */
  tls: boolean;
}

/** Who the primary is, as far as is known when a member starts. */
export interface Primary extends Address {
  /** Sentinel's count of failovers; 0: none yet, or not known. */
  configEpoch: number;
}

/** Stands in the file of a replica that no Sentinel may make the primary. */
const MAY_NOT_LEAD = 'replica-priority 0';

/** Whether what is on a member's volume was ever a copy of a primary's data; without it a member has nothing to lead with. */
export function wasCopy(redisFile: string): boolean {
  return redisFile !== '' && !redisFile.split('\n').includes(MAY_NOT_LEAD);
}

/**
 * Redis' own file of this member.
 * @param before the file as Redis left it; empty on a new volume
 */
export function redisFile({ members, own }: Membership, settings: Settings, primary: Address, before: string): string {
  const self = members[own];
  if (!self) throw new RangeError(`there is no member ${own}`);
  const isPrimary = primary.host === self.host && primary.port === self.port;
  return file([
    settings.redis.trimEnd(),
    ...listening(settings, self.port),
    defaultUser(settings.accepted),
    `masterauth ${settings.password}`,
    // Pods get another address each time they start; names stay.
    `replica-announce-ip ${self.host}`,
    `replica-announce-port ${self.port}`,
    ...(isPrimary ? [] : [`replicaof ${primary.host} ${primary.port}`]),
    // Sentinel would promote one that is empty, rather than none: the others would then copy that.
    ...(isPrimary || wasCopy(before) ? [] : [MAY_NOT_LEAD]),
  ]);
}

const listening = ({ tls }: Settings, port: number): string[] =>
  tls ? ['port 0', `tls-port ${port}`] : [`port ${port}`];

/** What Sentinel writes into its file for itself, and must find there again: who it is, and for whom it voted. */
const OWN_NOTES = /^sentinel (myid|current-epoch|leader-epoch|known-sentinel|known-replica|config-epoch) /;
/** Those of them that are about one primary, and are found out again. */
const NOTES_OF_PRIMARY = /^sentinel (known-sentinel|known-replica|config-epoch) /;

/**
 * Sentinel's file of this member.
 * @param folder where Sentinel may write
 * @param before the file as Sentinel left it; empty at the first start
 */
export function sentinelFile(
  { name, members, own }: Membership,
  settings: Settings,
  folder: string,
  primary: Primary,
  before: string,
): string {
  const self = members[own];
  if (!self) throw new RangeError(`there is no member ${own}`);
  const known = primaryOf(before);
  const isKnown = known !== undefined && known.host === primary.host && known.port === primary.port;
  const notes = before.split('\n').filter((line) => OWN_NOTES.test(line) && (isKnown || !NOTES_OF_PRIMARY.test(line)));
  const about = (what: string, value: string) => `sentinel ${what} ${name} ${value}`;
  // It would find them out from the primary, within seconds: one that is lost before would leave nobody to promote, for good. The
  // Sentinels find each other through the replicas as well.
  const replicas = members
    .filter(({ host, port }) => host !== primary.host || port !== primary.port)
    .map(({ host, port }) => about('known-replica', `${host} ${port}`));
  return file([
    ...listening(settings, self.sentinelPort),
    `dir ${folder}`,
    defaultUser(settings.accepted),
    ...notes.filter((line) => line.startsWith('sentinel myid ')),
    'sentinel resolve-hostnames yes',
    'sentinel announce-hostnames yes',
    `sentinel announce-ip ${self.host}`,
    `sentinel announce-port ${self.sentinelPort}`,
    `sentinel sentinel-pass ${settings.password}`,
    about('monitor', `${primary.host} ${primary.port} ${quorumOf(members.length)}`),
    about('auth-pass', settings.password),
    settings.sentinel.trimEnd(),
    ...(isKnown || primary.configEpoch === 0 ? [] : [about('config-epoch', String(primary.configEpoch))]),
    ...notes.filter((line) => !line.startsWith('sentinel myid ')),
    ...replicas.filter((line) => !notes.includes(line)),
  ]);
}

/** The primary that a Sentinel's file names. */
export function primaryOf(sentinelFile: string): Primary | undefined {
  const match = /^sentinel monitor \S+ (\S+) (\d+) \d+$/m.exec(sentinelFile);
  if (!match) return undefined;
  const epoch = /^sentinel config-epoch \S+ (\d+)$/m.exec(sentinelFile);
  return { host: match[1] ?? '', port: Number(match[2]), configEpoch: Number(epoch?.[1] ?? 0) };
}

/**
 * Who the primary is, when a member starts: what the other Sentinels say counts more than what this one remembers, and the newest
 * of what they say more than the rest. With nobody to ask and nothing remembered it is the first member of a new store.
 */
export function choosePrimary(told: readonly Primary[], remembered: Primary | undefined, first: Address): Primary {
  const best = told.reduce<Primary | undefined>((a, b) => (a && a.configEpoch >= b.configEpoch ? a : b), undefined);
  if (remembered && (!best || remembered.configEpoch > best.configEpoch)) return remembered;
  return best ?? { host: first.host, port: first.port, configEpoch: 0 };
}

/** The primary that at least so many Sentinels name, each of the same failover; undefined: they do not agree. */
export function agreedPrimary(told: readonly Primary[], quorum: number): Primary | undefined {
  const isSame = (one: Primary, other: Primary) =>
    one.host === other.host && one.port === other.port && one.configEpoch === other.configEpoch;
  return told.find((one) => told.filter((other) => isSame(one, other)).length >= quorum);
}

function file(lines: string[]): string {
  return `${lines.filter((line) => line !== '').join('\n')}\n`;
}
