import { X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError, reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { passwordRules } from '../../common/store-access.ts';
import { delay, monotonicMs } from '../../common/time.ts';
import { readTlsMaterial, storeConnection, type TlsMaterial } from '../../common/tls.ts';
import { asked, certificateAt, type Endpoint, followedBy, primaryAt, roleAt } from './local.ts';
import {
  agreedPrimary,
  choosePrimary,
  type Primary,
  primaryOf,
  redisFile,
  type Settings,
  sentinelFile,
  wasCopy,
} from './member-files.ts';
import { type Membership, quorumOf } from './members.ts';

/** How often the mounted Secret is looked at: it is swapped as a whole, which inotify does not always tell. */
const LOOK_EVERY_MS = 2000;
/** How often a Sentinel asks the primary for its replicas, ms: it promotes none that it has not heard of, and would ask every 10 s. */
const REPLICAS_EVERY_MS = 1000;
/** How often a new replica is asked whether it has its first copy by now, ms: until then it may not lead, and another cannot. */
const FIRST_COPY_EVERY_MS = 300;
/** Redis' own default. */
const MAY_LEAD = '100';
/** A replica that follows nobody, so many looks in a row, is led to the primary: Sentinels have done so by then where they can. */
const LOST_LOOKS = 3;
/** A Sentinel takes another certificate only when it starts: so long after its neighbour, ms, so that the others go on. */
const SENTINELS_APART_MS = 10_000;
/** So long one that could lead asks the others who does, before it goes by what it remembers, or begins: all may have been down. */
const ASKED_FOR_MS = 10_000;
/** The time between two such rounds. */
const ASKED_EVERY_MS = 300;
export const REDIS_FILE = 'redis.conf';
export const SENTINEL_FILE = 'sentinel.conf';

export interface KeeperOptions {
  membership: Membership;
  /** The mounted Secret: redis.conf, sentinel.conf, password, and accepted (one password a line) while it changes. */
  settingsDir: string;
  /**
   * On the member's volume: what Redis and Sentinel read, and write for themselves. Without it Redis reads the Secret itself, as a
   * single one does, which needs nobody before it starts.
   */
  folder: string | undefined;
  /** ca.crt, tls.crt and tls.key of the members, which are then spoken to by TLS alone; in the clear without. They may be exchanged. */
  tlsDir: string | undefined;
  log: Logger;
}

/**
 * Looks after one member of an embedded store: writes the files that Redis and Sentinel start with, and has both take new passwords
 * and certificates. A replica that its Sentinels do not know follows the primary that they name. Both write into their files what they learn (who the primary is, for whom a Sentinel voted); that is kept.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  #isPrepared = false;
  /** What the last look found this member to lack; undefined: nothing, or this process has not seen its Redis up yet. */
  #lack: string | undefined;
  #wasUp = false;
  /** Looks in a row at which this Redis had lost its primary, which is none any more. */
  #lostLooks = 0;
  /** Whether no Sentinel may promote this Redis yet: what it has is no copy. */
  #mayNotLead = false;
  /** What both took last. */
  #taken: Pick<Settings, 'password' | 'accepted'> = { password: '', accepted: [] };
  /** The certificate that both show, and when another one was found. */
  #shown: TlsMaterial | undefined;
  #foundMs: number | undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /**
   * Whether the others may rely on this member, or why not: until its files are there Redis may not start, and while Redis or Sentinel
   * does not answer, or has not what the primary has, another member must not be ended for an upgrade or a drain.
   */
  get readiness(): true | string {
    if (!this.#isPrepared) return 'the files of Redis are not written yet';
    return this.#lack ?? true;
  }

  /** Writes the files, unless Redis runs with them already (this process was started anew, and Redis was not). */
  async prepare(): Promise<void> {
    const { membership, folder, log } = this.#options;
    this.#isPrepared = folder === undefined;
    if (folder === undefined) return;
    const settings = this.#settings();
    const self = this.#self();
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const runs = (await roleAt(this.#local(self.port), settings.accepted)) !== undefined;
    if (!runs || !existsSync(this.#file(REDIS_FILE))) {
      const primary = await this.#primary(settings);
      const before = this.#read(SENTINEL_FILE);
      this.#write(SENTINEL_FILE, sentinelFile(membership, settings, folder, primary, before));
      this.#write(REDIS_FILE, redisFile(membership, settings, primary, this.#read(REDIS_FILE)));
      log.info({ primary: `${primary.host}:${primary.port}`, own: membership.own }, 'store member prepared');
      this.#taken = settings;
    }
    this.#mayNotLead = !wasCopy(this.#read(REDIS_FILE));
    this.#isPrepared = true;
  }

  /** Passes on new passwords and certificates, leads a lost replica to its primary, and lets a new one lead when it may, until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#lookAfter(signal), this.#awaitFirstCopy(signal)]);
  }

  async #lookAfter(signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    while (!signal.aborted) {
      await this.#renew().catch((error: unknown) =>
        log.warn({ reason: reasonOf(error) }, 'the new certificate cannot be passed on yet; trying again'),
      );
      await this.#passOn().catch((error: unknown) =>
        log.warn({ reason: reasonOf(error) }, 'the new password cannot be passed on yet; trying again'),
      );
      await this.#lookOften()
        .then(() => this.#follow())
        .catch((error: unknown) =>
          log.warn({ reason: reasonOf(error) }, 'cannot look whether the primary is followed; trying again'),
        );
      this.#lack = await this.#findLack().catch(reasonOf);
      await delay(LOOK_EVERY_MS, signal).catch(() => undefined);
    }
  }

  async #passOn(): Promise<void> {
    const { membership, folder, log } = this.#options;
    const settings = this.#settings();
    const before = this.#taken;
    if (settings.password === before.password && settings.accepted.join('\n') === before.accepted.join('\n')) return;
    const known = [...settings.accepted, ...before.accepted];
    const { port, sentinelPort } = this.#self();
    const rules = ['resetpass', ...passwordRules(settings.accepted)];
    const inRedis = await asked(this.#local(port), known, async (redis) => {
      // One command: nobody is shut out in between, and connections that stand need no password.
      await redis.call('ACL', 'SETUSER', 'default', ...rules);
      if (sentinelPort > 0) await redis.config('SET', 'masterauth', settings.password);
      if (folder !== undefined) await redis.call('CONFIG', 'REWRITE');
      return true;
    });
    if (!inRedis) throw new HoldfastError('STORE_MEMBER', `Redis at port ${port} does not answer`);
    if (sentinelPort > 0) {
      const inSentinel = await asked(this.#local(sentinelPort), known, async (sentinel) => {
        await sentinel.call('ACL', 'SETUSER', 'default', ...rules);
        await sentinel.call('SENTINEL', 'SET', membership.name, 'auth-pass', settings.password);
        await sentinel.call('SENTINEL', 'CONFIG', 'SET', 'sentinel-pass', settings.password);
        await sentinel.call('SENTINEL', 'FLUSHCONFIG');
        return true;
      });
      if (!inSentinel) throw new HoldfastError('STORE_MEMBER', `Sentinel at port ${sentinelPort} does not answer`);
    }
    this.#taken = settings;
    log.info({ accepted: settings.accepted.length }, 'the store takes its new password');
  }

  /**
   * Has Redis and Sentinel show the certificate that lies there now. A keeper that starts cannot know which one they have read: it looks.
   * The last one they are known to show is what they know the keeper by until then; that it has ended must not be in the way of the next.
   */
  async #renew(): Promise<void> {
    const { tlsDir, log, membership } = this.#options;
    if (tlsDir === undefined) return;
    const now = readTlsMaterial(tlsDir);
    if (this.#shown?.certificate.equals(now.certificate)) return;
    this.#foundMs ??= monotonicMs();
    const tls = { ...storeConnection(this.#shown ?? now), rejectUnauthorized: false };
    const wanted = new X509Certificate(now.certificate).raw;
    const shows = async (port: number) => (await certificateAt({ ...this.#local(port), tls }))?.equals(wanted);
    const { port, sentinelPort } = this.#self();
    const { accepted } = this.#settings();
    const inRedis = await shows(port);
    if (inRedis === undefined) return; // not up yet
    if (!inRedis) {
      const [certificate, key, authority] = ['tls.crt', 'tls.key', 'ca.crt'].map((name) => join(tlsDir, name));
      const files = ['tls-cert-file', certificate, 'tls-key-file', key, 'tls-ca-cert-file', authority] as string[];
      // It reads them anew though the names are the same, all or none; connections that stand go on.
      const isTaken = await asked({ ...this.#local(port), tls }, accepted, (redis) =>
        redis.call('CONFIG', 'SET', ...files),
      );
      if (isTaken === undefined) throw new HoldfastError('STORE_MEMBER', `Redis at port ${port} does not take it`);
    }
    if (sentinelPort > 0 && !(await shows(sentinelPort))) {
      if (monotonicMs() - this.#foundMs < membership.own * SENTINELS_APART_MS) return;
      // It ends, and whoever runs the container starts it again.
      await asked({ ...this.#local(sentinelPort), tls }, accepted, (sentinel) => sentinel.call('SHUTDOWN'));
      return;
    }
    if (this.#shown) log.info('the store shows its new certificate');
    this.#shown = now;
    this.#foundMs = undefined;
  }

  /**
   * A Redis that loads its data, and a replica that still copies what the primary has, run and are worth nothing yet. Redis starts when
   * this process is said to be ready: what is not up because it has not been started is no lack.
   */
  async #findLack(): Promise<string | undefined> {
    const { port, sentinelPort } = this.#self();
    const { accepted } = this.#settings();
    const local = this.#local(port);
    const role = await roleAt(local, accepted); // it says so while it loads, too
    this.#wasUp ||= role !== undefined;
    if (!this.#wasUp) return undefined;
    if (role === undefined) return 'Redis does not answer';
    if ((await asked(local, accepted, (redis) => redis.ping())) === undefined) return 'Redis loads its data';
    if ((await followedBy(local, accepted))?.isConnected === false) return 'Redis has not what the primary has yet';
    if (sentinelPort === 0) return undefined;
    const watches = await asked(this.#local(sentinelPort), accepted, (sentinel) => sentinel.ping());
    return watches === undefined ? 'Sentinel does not answer' : undefined;
  }

  /** A Sentinel that starts has forgotten it. */
  async #lookOften(): Promise<void> {
    const { sentinelPort } = this.#self();
    if (sentinelPort === 0) return;
    await asked(this.#local(sentinelPort), this.#settings().accepted, (sentinel) =>
      sentinel.call('SENTINEL', 'DEBUG', 'INFO-PERIOD', String(REPLICAS_EVERY_MS)),
    );
  }

  /**
   * A failover leads the replicas that the Sentinels know to the new primary, and they learn of one a second after it has come. One
   * that they did not know yet goes on calling the old primary for good, and the new one grants nothing without a replica.
   */
  async #follow(): Promise<void> {
    const { membership, log } = this.#options;
    const { members, name } = membership;
    if (members.length < 2) return;
    const { accepted } = this.#settings();
    const local = this.#local(this.#self().port);
    const followed = await followedBy(local, accepted);
    const named = followed && !followed.isConnected ? await this.#named(name, accepted) : undefined;
    const isLost =
      named !== undefined && (named.host !== followed?.primary.host || named.port !== followed?.primary.port);
    this.#lostLooks = isLost && !this.#isSelf(named) ? this.#lostLooks + 1 : 0;
    if (named === undefined || this.#lostLooks < LOST_LOOKS) return;
    this.#lostLooks = 0;
    await asked(local, accepted, async (redis) => {
      await redis.call('REPLICAOF', named.host, String(named.port));
      await redis.call('CONFIG', 'REWRITE');
    });
    log.warn(
      { primary: `${named.host}:${named.port}` },
      'the Sentinels have forgotten this replica: it follows the primary now',
    );
  }

  /** Lets a Redis that began with nothing be promoted, once it has what the primary has. */
  async #awaitFirstCopy(signal: AbortSignal): Promise<void> {
    const { log, membership } = this.#options;
    while (this.#mayNotLead && !signal.aborted) {
      const mayLead = await this.#leadWithCopy().catch((error: unknown) =>
        log.warn({ reason: reasonOf(error) }, 'cannot look for the first copy; trying again'),
      );
      if (mayLead) {
        this.#mayNotLead = false;
        log.info({ own: membership.own }, 'has its first copy: it may become the primary');
      } else await delay(FIRST_COPY_EVERY_MS, signal).catch(() => undefined);
    }
  }

  /** Whether it may lead now; that stands in its file, for when it starts again. */
  async #leadWithCopy(): Promise<boolean> {
    const { accepted } = this.#settings();
    const local = this.#local(this.#self().port);
    if (!(await followedBy(local, accepted))?.isConnected) return false;
    const isLet = await asked(local, accepted, async (redis) => {
      await redis.config('SET', 'replica-priority', MAY_LEAD);
      await redis.call('CONFIG', 'REWRITE');
      return true;
    });
    return isLet ?? false;
  }

  async #named(name: string, passwords: readonly string[]): Promise<Primary | undefined> {
    const { members } = this.#options.membership;
    const told = await Promise.all(
      members.map(({ host, sentinelPort }) => primaryAt(this.#at(host, sentinelPort), name, passwords)),
    );
    return agreedPrimary(
      told.flatMap((primary) => primary ?? []),
      quorumOf(members.length),
    );
  }

  /** A Redis or a Sentinel of this store. */
  #at(host: string, port: number): Endpoint {
    const { tlsDir } = this.#options;
    return { host, port, tls: tlsDir === undefined ? undefined : storeConnection(readTlsMaterial(tlsDir)) };
  }

  #local(port: number): Endpoint {
    return this.#at('127.0.0.1', port);
  }

  #isSelf({ host, port }: Primary): boolean {
    const self = this.#self();
    return self.host === host && self.port === port;
  }

  async #primary(settings: Settings): Promise<Primary> {
    const { membership } = this.#options;
    const { members, own, name } = membership;
    const others = members.filter((_member, i) => i !== own);
    const first = members[0] ?? this.#self();
    const remembered = primaryOf(this.#read(SENTINEL_FILE));
    // Others may have taken over, also from a first member whose volume is new since, and a network may let it speak to them a moment
    // after it has started. The rest of a new store waits for nobody: by what their Sentinels say the first one learns that it leads.
    const mayLead = remembered !== undefined || own === 0;
    const untilMs = monotonicMs() + (mayLead && others.length > 0 ? ASKED_FOR_MS : 0);
    for (;;) {
      const answers = await Promise.all(
        others.map(({ host, sentinelPort }) => primaryAt(this.#at(host, sentinelPort), name, settings.accepted)),
      );
      const told = answers.flatMap((primary) => primary ?? []);
      if (told.length > 0 || monotonicMs() >= untilMs) return choosePrimary(told, remembered, first);
      await delay(ASKED_EVERY_MS);
    }
  }

  #settings(): Settings {
    const { settingsDir } = this.#options;
    const read = (name: string) => readFileSync(join(settingsDir, name), 'utf8');
    const password = read('password').trimEnd();
    const accepted = existsSync(join(settingsDir, 'accepted')) ? read('accepted').split('\n') : [];
    return {
      redis: read(REDIS_FILE),
      sentinel: existsSync(join(settingsDir, SENTINEL_FILE)) ? read(SENTINEL_FILE) : '',
      password,
      accepted: [...new Set([password, ...accepted.filter((line) => line !== '')])],
      tls: this.#options.tlsDir !== undefined,
    };
  }

  #self() {
    const { members, own } = this.#options.membership;
    const self = members[own];
    if (!self) throw new HoldfastError('STORE_MEMBER', `there is no member ${own} among ${members.length}`);
    return self;
  }

  #file(name: string): string {
    return join(this.#options.folder ?? '', name);
  }

  #read(name: string): string {
    return existsSync(this.#file(name)) ? readFileSync(this.#file(name), 'utf8') : '';
  }

  /** Whole or not at all: the volume may be full, and this process may die at any time. */
  #write(name: string, text: string): void {
    const next = this.#file(`${name}.next`);
    writeFileSync(next, text, { mode: 0o600, flush: true });
    renameSync(next, this.#file(name));
  }
}
