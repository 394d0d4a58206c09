import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AskedTraces } from '../common/asked-traces.ts';
import { type ClusterConfig, readClusterConfig } from '../common/config.ts';
import { reasonOf } from '../common/errors.ts';
import { type Logger, setLogLevel } from '../common/logging.ts';
import { type Health, serveMetrics } from '../common/metrics.ts';
import { delay } from '../common/time.ts';
import type { RpcAccounts } from '../smb/rpc/server.ts';
import { domainSid } from '../smb/security/sid.ts';
import type { RemoveFile } from './handles/closings.ts';
import { KeptOpens } from './handles/kept-opens.ts';
import { lockForLife } from './handles/lock-file.ts';
import { HandlesStream } from './handles/stream.ts';
import { handlesOn } from './handles.ts';
import { Handoff } from './handoff.ts';
import { Metrics, type Observed } from './metrics.ts';
import { Changes } from './notify/changes.ts';
import { ServersBySidecar } from './notify/servers-by-sidecar.ts';
import { Opens } from './opens/opens.ts';
import { Pipes } from './pipes/pipes.ts';
import { DeadlineClock } from './session/deadline-clock.ts';
import { protectionOf } from './session/protection-in-use.ts';
import type { Services } from './session/request.ts';
import { Server } from './session/server.ts';
import { Accounts, limitsOf, type Usage } from './session/usage.ts';
import type { Settings } from './settings.ts';
import { ShareTroubles } from './share-troubles.ts';
import { type Share, Shares } from './shares.ts';
import { Users } from './users.ts';

export interface FileServerOptions {
  /** Path of config.json (common/config.ts). */
  config: string;
  runDir: string;
  usersDir: string;
  /** host:port of the SMB server, and where clients reach it. */
  listen: string;
  advertise: string;
  /** host:port of the metrics server. */
  metrics: string;
  worker: string;
  serverName: string;
}

const CONFIG_POLL_MS = 2000;
/** What ending the sessions may take at SIGTERM: the process exits within 5 s. */
const CLOSE_TIMEOUT_MS = 4000;
/** So long spans that were not sent yet hold up the end. */
const TRACES_SENT_MS = 500;

/** The file server process: puts the parts together, starts and ends them. */
export class FileServer {
  readonly #options: FileServerOptions;
  readonly #log: Logger;
  readonly #config: ClusterConfig;
  readonly #shares: Shares;
  readonly #users: Users;
  readonly #clock: DeadlineClock;
  readonly #stream: HandlesStream;
  readonly #kept: KeptOpens;
  readonly #others: ServersBySidecar;
  readonly #server: Server;
  readonly #metrics: Metrics;
  readonly #traces: AskedTraces;
  readonly #troubles: ShareTroubles;
  readonly #lockPath: string;
  #configText: string;
  #configTimer: NodeJS.Timeout | undefined;
  #metricsServer: { port: number; close(): Promise<void> } | undefined;
  #isListening = false;
  #isStopping = false;
  #onRegistered: (() => void) | undefined;

  /** Reads configuration and users. Throws HoldfastError with a message for people. */
  constructor(options: FileServerOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
    this.#config = readClusterConfig(options.config);
    this.#configText = readFileSync(options.config, 'utf8');
    setLogLevel(log, this.#config.logLevel);
    this.#shares = new Shares(this.#config);
    this.#users = new Users(options.usersDir, this.#config.clusterId, log);
    this.#lockPath = join(options.runDir, `fileserver-${options.worker}.lock`);
    this.#clock = new DeadlineClock({
      closed: () => log.warn('past the deadline: holding requests and answers for a renewal'),
      reopened: () => log.info('renewed: going on'),
      expired: () => void this.#stream.fence('no renewal for too long after the deadline'),
    });
    this.#traces = new AskedTraces('holdfast-fileserver', `${options.serverName}/${options.worker}`, (error) =>
      log.warn({ reason: reasonOf(error) }, 'traces could not be sent'),
    );
    const folderOf = (share: Share) => this.#server.services.opens.folderOf(share);
    this.#troubles = new ShareTroubles(this.#shares, folderOf, log);
    this.#stream = this.#makeStream();
    this.#kept = new KeptOpens(handlesOn(this.#stream), (file) => this.#removeKept(file));
    this.#others = new ServersBySidecar(this.#kept.handles);
    this.#metrics = new Metrics({
      connections: () => this.#server.connections.size,
      sessions: () => this.#server.sessions.size,
      opens: () => this.#server.services.opens.size,
      keptOpens: () => this.#kept.parked,
      reusedOpens: () => this.#kept.timesReused,
      selfFencings: () => this.#clock.timesClosed,
      bytesInFlight: () => this.#server.accounts.server.bytesInFlight,
      waitingRequests: () => this.#server.accounts.server.waitingRequests,
      mayServe: () => this.#clock.mayServe(),
      limited: () => this.#limited(),
      protections: () => [...this.#server.sessions.values()].flatMap((session) => protectionOf(session) ?? []),
    });
    this.#server = new Server(this.#makeServices(), this.#users);
  }

  #limited(): ReturnType<Observed['limited']> {
    const { accounts, connections, services } = this.#server;
    const { limits, server } = accounts;
    return {
      connections: { inUse: connections.size, limit: limits.connections },
      sessions: { inUse: server.sessions, limit: limits.sessions },
      opens: { inUse: services.opens.size, limit: limits.opens },
      requests: { inUse: server.requests, limit: limits.requests },
      waiting_requests: { inUse: server.waitingRequests, limit: limits.waitingRequests },
      in_flight_bytes: { inUse: server.bytesInFlight, limit: limits.bytesInFlight },
    };
  }

  #makeStream(): HandlesStream {
    const { runDir, worker, advertise } = this.#options;
    // The commands are of the server, which needs the stream: looked up when one comes.
    const commands = () => this.#kept.commandsFor(new Handoff(this.#server));
    const traces = this.#traces;
    return new HandlesStream({
      socketPath: join(runDir, 'sidecar.sock'),
      worker,
      lockPath: this.#lockPath,
      smbAddress: advertise,
      log: this.#log,
      commands: {
        fileState: (command) => commands().fileState(command),
        break: (command) => commands().break(command),
        dropSession: (command) => commands().dropSession(command),
        stopAccepting: () => commands().stopAccepting(),
        quiesce: (command) => traces.during('quiesce', command.trace, () => commands().quiesce(command)),
        release: (command) => traces.during('release', command.trace, () => commands().release(command)),
        resume: (command) => commands().resume(command),
        warmUp: (command) => traces.during('look names up', command.trace, () => commands().warmUp(command)),
        removeFile: (command) => commands().removeFile(command),
        dropOpen: (command) => commands().dropOpen(command),
        watched: async ({ scopes }) => this.#others.watched(scopes),
        changed: async (command) => this.#others.changed(command),
      },
      troubles: () => this.#troubles.found,
      records: () => this.#kept.records(this.#server.services.opens.records()),
      lockState: (fileId) => this.#server.services.opens.lockState(fileId),
      registered: (hello, resumed) => {
        this.#server.useEpoch(hello.identity.epoch);
        this.#clock.renew(hello.deadlineNs);
        this.#kept.isLeaving = hello.draining || this.#isStopping;
        if (hello.draining) this.#server.stopAccepting();
        else if (!resumed && !this.#isStopping) this.#server.startAccepting();
        this.#others.attached();
        this.#onRegistered?.();
      },
      renewed: (deadlineNs) => this.#clock.renew(deadlineNs),
      fenced: async () => {
        this.#clock.fence();
        this.#kept.forget();
        await this.#server.fenced();
      },
    });
  }

  async #removeKept({ fileId, share, path }: Parameters<RemoveFile>[0]): Promise<void> {
    if (!(await this.#server.services.opens.removeFile(fileId, share, path))) return;
    await this.#kept.handles.fileGone({ fileId, ahead: false });
  }

  #makeServices(): Services {
    const { serverName, advertise } = this.#options;
    const { handles } = this.#kept;
    const settings: Settings = { config: this.#config, serverGuid: randomBytes(16), serverName, advertise };
    const [shares, deadline, log] = [this.#shares, this.#clock, this.#log];
    const changes = new Changes(this.#others);
    const accounts = new Accounts(limitsOf(this.#config));
    return {
      handles,
      shares,
      deadline,
      log,
      settings,
      metrics: this.#metrics,
      opens: new Opens({ handles, shares, deadline, changes, log }),
      changes,
      accounts,
      pipes: new Pipes(shares, this.#accounts(), accounts, serverName),
    };
  }

  /** Users by name and SID, for those who look them up. */
  #accounts(): RpcAccounts {
    const { clusterId, clusterName } = this.#config;
    return {
      domainName: clusterName.toUpperCase(),
      domainSid: domainSid(clusterId),
      byName: (name) => this.#users.find(name),
      bySid: (sid) => this.#users.findBySid(sid),
    };
  }

  /**
   * Serves as soon as the sidecar has registered this process. Rejects with HoldfastError where that cannot be.
   * @returns the port that SMB is served on
   */
  async start(): Promise<number> {
    const { listen, metrics } = this.#options;
    await lockForLife(this.#lockPath);
    this.#metricsServer = await serveMetrics(metrics, this.#metrics.registry, this.#health());
    this.#users.watch(
      (names) => this.#server.expireSessions(names),
      (names) => void this.#server.endSessionsOf(names),
    );
    this.#configTimer = setInterval(() => this.#readConfigAgain(), CONFIG_POLL_MS);
    const registered = new Promise<void>((resolve) => {
      this.#onRegistered = resolve;
    });
    this.#stream.start();
    await registered;
    const port = await this.#server.listen(listen);
    this.#isListening = true;
    this.#troubles.start();
    this.#log.info({ listen, port, shares: this.#shares.all().length - 1 }, 'serving');
    return port;
  }

  /** Where /metrics is served, once started. */
  get metricsPort(): number | undefined {
    return this.#metricsServer?.port;
  }

  /** What clients have in use here. */
  get inUse(): Readonly<Usage> {
    return this.#server.accounts.server;
  }

  /** Whether the deadline of the last renewal is ahead. */
  get mayServe(): boolean {
    return this.#clock.mayServe();
  }

  /** Ends cleanly: what runs finishes, opens are closed or wait for their client elsewhere. */
  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#log.info('stopping');
    clearInterval(this.#configTimer);
    this.#troubles.stop();
    this.#users.close();
    const closed = this.#kept.leave();
    await this.#server.close(CLOSE_TIMEOUT_MS);
    await Promise.race([closed, delay(CLOSE_TIMEOUT_MS)]);
    this.#stream.stop();
    await Promise.race([this.#traces.flush(), delay(TRACES_SENT_MS)]);
    await this.#metricsServer?.close();
  }

  #health(): Health {
    return {
      live: () => true,
      ready: () => {
        if (!this.#isListening) return 'not registered with the sidecar yet';
        if (this.#server.isStopping) return 'on the way out';
        if (!this.#clock.mayServe()) return 'past the deadline of the last renewal';
        return true;
      },
    };
  }

  /** Shares, their access and the log level take effect at once; anything else needs a restart. */
  #readConfigAgain(): void {
    try {
      const text = readFileSync(this.#options.config, 'utf8');
      if (text === this.#configText) return;
      const config = readClusterConfig(this.#options.config);
      this.#shares.update(config);
      setLogLevel(this.#log, config.logLevel);
      this.#configText = text;
      this.#log.info({ shares: this.#shares.all().length - 1 }, 'shares were read again');
      void this.#troubles.look();
      void this.#server.endTrees(({ share, session }) => !this.#shares.stillGives(share, session.user?.name ?? ''));
    } catch (error) {
      this.#log.error({ err: error }, 'the configuration cannot be read again: what is known stays');
    }
  }
}
