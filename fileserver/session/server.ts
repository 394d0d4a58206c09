import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { HoldfastError } from '../../common/errors.ts';
import { splitAddress } from '../../common/metrics.ts';
import type { Users } from '../users.ts';
import { LogonThrottle } from './logon-throttle.ts';
import type { Services } from './request.ts';
import { type ConnectionOwner, ServerConnection } from './server-connection.ts';
import { EPOCH_SHIFT, type Session, type TreeConnect, type User } from './session.ts';
import type { Accounts } from './usage.ts';

const SHARD_SHIFT = 30n;
const SHARDS = 64;
/** SessionIds of one epoch: 30 bits of counter (handle-state of the design). */
const MAX_SESSION_COUNTER = 0x3fff_ffff;
/** What a fenced server waits for operations that are with the kernel. */
const FENCED_WAIT_MS = 10_000;

/** The SMB server of this process: its connections and sessions. */
export class Server implements ConnectionOwner {
  readonly services: Services;
  readonly users: Users;
  readonly accounts: Accounts;
  readonly throttle = new LogonThrottle();
  readonly connections = new Set<ServerConnection>();
  /** Of them, those that nobody is logged on to; who has waited longest comes first. */
  readonly #beforeLogon = new Set<ServerConnection>();
  /** GlobalSessionTable (MS-SMB2 3.3.1.5): valid sessions, and those that are ending until their opens are settled. */
  readonly sessions = new Map<bigint, Session>();
  /** On its way out: connections are reset, sessions not set up any more. */
  isStopping = false;
  /** Every request waits, of sessions to come too. */
  isQuiesced = false;
  #epoch: bigint | undefined;
  #sessionCounter = 0;
  #connectionCounter = 0;
  #net: NetServer | undefined;

  constructor(services: Services, users: Users) {
    this.services = services;
    this.users = users;
    this.accounts = services.accounts;
  }

  /** A new identity: SessionIds carry its epoch. */
  useEpoch(epoch: bigint): void {
    if (this.#epoch === epoch) return;
    this.#epoch = epoch;
    this.#sessionCounter = 0;
  }

  /**
   * @param address host:port; port 0 picks a free one
   * @returns the port
   */
  async listen(address: string): Promise<number> {
    const { host, port } = splitAddress(address);
    const net = createServer({ noDelay: true, pauseOnConnect: true }, (socket) => this.#accept(socket));
    this.#net = net;
    await new Promise<void>((resolve, reject) => {
      net.once('error', (error) =>
        reject(new HoldfastError('LISTEN', `cannot listen on ${address}: ${error.message}`, { cause: error })),
      );
      net.listen({ host, port, backlog: 1024 }, resolve);
    });
    net.removeAllListeners('error');
    net.on('error', (error) => this.services.log.error({ err: error }, 'cannot accept a connection'));
    const bound = net.address();
    return typeof bound === 'object' && bound ? bound.port : port;
  }

  /** Resets new connections from now on; those that are there go on. */
  stopAccepting(): void {
    this.isStopping = true;
  }

  /** Accepts again. */
  startAccepting(): void {
    this.isStopping = false;
  }

  #accept(socket: Socket): void {
    const { limits } = this.accounts;
    if (this.#beforeLogon.size >= limits.connectionsBeforeLogon) this.#closeOldest();
    if (this.isStopping || this.connections.size >= limits.connections || this.#epoch === undefined) {
      socket.on('error', () => {});
      socket.resetAndDestroy();
      return;
    }
    const connection = new ServerConnection(this, socket, ++this.#connectionCounter);
    this.connections.add(connection);
    this.#beforeLogon.add(connection);
    if (this.isQuiesced) connection.quiesce();
    connection.log.debug('connected');
  }

  /** Who floods the server with connections loses its own first. */
  #closeOldest(): void {
    for (const connection of this.#beforeLogon) {
      this.#beforeLogon.delete(connection);
      connection.close('too many connections that nobody logs on to', true);
      return;
    }
  }

  loggedOn(connection: ServerConnection, isLoggedOn: boolean): void {
    if (isLoggedOn) this.#beforeLogon.delete(connection);
    else this.#beforeLogon.add(connection);
  }

  /** Epoch (28 bits), shard (6), counter (30). Undefined when the counter is used up: a new epoch is needed. */
  nextSessionId(): bigint | undefined {
    if (this.#epoch === undefined || this.#sessionCounter >= MAX_SESSION_COUNTER) return undefined;
    const counter = ++this.#sessionCounter;
    return (this.#epoch << EPOCH_SHIFT) | (BigInt(counter % SHARDS) << SHARD_SHIFT) | BigInt(counter);
  }

  /**
   * Ends a session: what waits on its behalf is aborted, what runs finishes, its opens are disconnected or closed, the sidecar
   * is told. Safe to call again: the same promise.
   * @param own 1 when a request of the session itself asks for its end
   * @param by the connection that asks: it still signs its answer
   */
  endSession(session: Session, reason: string, own = 0, by?: ServerConnection): Promise<void> {
    session.ending ??= this.#end(session, reason, own, by);
    return session.ending;
  }

  async #end(session: Session, reason: string, own: number, by: ServerConnection | undefined): Promise<void> {
    const connections = this.#forget(session);
    for (const connection of connections) connection.abortPending(session);
    for (const request of session.adrift) request.cancel();
    await session.whenIdle(own);
    await this.services.opens.endSession(session);
    await this.services.handles.endSession(session.id);
    this.#remove(session);
    const last = by ?? connections[0];
    if (last) last.retire(session);
    else session.closeKeys();
    this.services.log.info({ session: session.id.toString(16), user: session.user?.name, reason }, 'session ended');
  }

  #remove(session: Session): void {
    if (!this.sessions.delete(session.id) || !session.usage) return;
    for (const tree of session.trees.values()) if (tree.share.isPipe) this.services.pipes.endTree(tree);
    this.accounts.addTrees(-session.trees.size, session.usage);
    session.trees.clear();
    this.accounts.addSessions(-1, session.usage);
    this.accounts.addChannels(-session.channels.length, session.usage);
  }

  /** No more requests for the session. @returns the connections of its channels */
  #forget(session: Session): ServerConnection[] {
    session.state = 'Ended';
    const connections = connectionsOf(session);
    for (const connection of connections) connection.dropChannel(session.id);
    return connections;
  }

  /**
   * The session and its opens belong to another server now: nothing is said to the sidecar about them, and the client's
   * connections end.
   */
  async releaseSession(session: Session): Promise<void> {
    if (session.ending) return session.ending;
    const connections = this.#forget(session);
    this.#remove(session);
    session.ending = this.services.opens.dropSession(session);
    for (const connection of connections) connection.abortPending(session);
    for (const request of session.adrift) request.cancel();
    await session.ending;
    // A request that waited may be granted an open all the same, behind the back of the handoff: it waits for its client then.
    void session.whenIdle().then(() => this.services.opens.endSession(session));
    for (const connection of connections) connection.leave('its handles moved to another server');
    session.closeKeys();
  }

  /**
   * SESSION_SETUP named a previous session (MS-SMB2 3.3.5.5.3): ends it if it is here and the same user's.
   * @returns whether it was here
   */
  async endPreviousSession(sessionId: bigint, user: User): Promise<boolean> {
    const session = this.sessions.get(sessionId);
    if (!session || session.user?.sid !== user.sid) return false;
    // Its connection stays: who still uses the old session learns from the status that it is over.
    await this.endSession(session, 'its client came back with another session');
    return true;
  }

  /** Who is not known any more, or by another password, has to prove himself again before anything more is done for him (3.3.5.2.9). */
  expireSessions(names: readonly string[]): void {
    const users = new Set(names);
    for (const session of this.sessions.values()) {
      if (session.state !== 'Valid' || !users.has(session.user?.name ?? '')) continue;
      session.state = 'Expired';
      this.services.log.info({ session: session.id.toString(16), user: session.user?.name }, 'session expired');
    }
  }

  /** Sessions of users that are no more end, and what they had open is closed: nobody could come back for it. */
  async endSessionsOf(names: readonly string[]): Promise<void> {
    const users = new Set(names);
    const theirs = [...this.sessions.values()].filter(({ user }) => users.has(user?.name ?? ''));
    await Promise.all(
      theirs.map(async (session) => {
        if (session.state === 'Valid') session.state = 'Expired'; // nothing more is begun
        await this.#endTrees(session, () => true);
        await this.endSession(session, 'its user is no more');
      }),
    );
  }

  /** Ends tree connects whose share is gone or leads elsewhere now, or whose user it keeps out (3.3.4.13): what they had open is closed. */
  async endTrees(isOver: (tree: TreeConnect) => boolean): Promise<void> {
    await Promise.all([...this.sessions.values()].map((session) => this.#endTrees(session, isOver)));
  }

  async #endTrees(session: Session, isOver: (tree: TreeConnect) => boolean): Promise<void> {
    const over = [...session.trees.values()].filter((tree) => !tree.share.isPipe && isOver(tree));
    for (const tree of over) {
      if (session.trees.delete(tree.id)) this.accounts.addTrees(-1, session.usage);
      this.services.log.info({ session: session.id.toString(16), share: tree.share.name }, 'tree connect ended');
    }
    await Promise.all(over.map((tree) => this.services.opens.endTree(tree)));
  }

  connectionClosed(connection: ServerConnection): void {
    this.connections.delete(connection);
    this.#beforeLogon.delete(connection);
    connection.log.debug('disconnected');
    for (const { session } of [...connection.channels.values()]) this.#lostChannel(session, connection);
  }

  /** 3.3.7.1: a session lives as long as one of its channels does. */
  #lostChannel(session: Session, connection: ServerConnection): void {
    if (session.state === 'InProgress' || session.state === 'Ended') return;
    if (session.channels.length > 1) {
      session.removeChannel(connection);
      if (session.usage) this.accounts.addChannels(-1, session.usage);
    } else void this.endSession(session, 'its connection is gone');
  }

  /**
   * Fenced: resets every connection, lets go of every open, tells nobody. Resolves when no request of before is being worked on any more:
   * none may go on under the next identity, for a client that has gone on elsewhere.
   */
  async fenced(): Promise<void> {
    this.#epoch = undefined;
    const sessions = [...this.sessions.values()];
    for (const session of sessions) {
      session.state = 'Ended';
      session.ending ??= Promise.resolve();
    }
    for (const session of sessions) this.#remove(session);
    for (const connection of [...this.connections]) connection.close('fenced', true);
    for (const { adrift } of sessions) for (const request of adrift) request.cancel();
    const hangs = new Promise<boolean>((resolve) => setTimeout(resolve, FENCED_WAIT_MS, true).unref());
    if (await Promise.race([this.#letGoOfAll(sessions), hangs])) {
      this.services.log.warn('fenced, and the volume has not returned from all that was begun: going on without it');
    }
    for (const session of sessions) session.closeKeys();
    this.isQuiesced = false;
  }

  async #letGoOfAll(sessions: readonly Session[]): Promise<void> {
    const { opens } = this.services;
    await Promise.all([opens.dropAll(), ...sessions.map((session) => session.whenIdle())]);
    // One that was granted with the last answer before the fence.
    await opens.dropAll();
  }

  /** Stops listening, ends every session as if its client had left, resolves when the sidecar knows. */
  async close(timeoutMs: number): Promise<void> {
    this.isStopping = true;
    this.#net?.close();
    const timeout = new Promise<void>((resolve) => setTimeout(resolve, timeoutMs).unref());
    const endings = [...this.sessions.values()].map((session) => this.endSession(session, 'the server stops'));
    // A process that ends resets what its clients are still sending.
    const leaving = [...this.connections].filter(({ isOpen }) => !isOpen).map(({ gone }) => gone);
    for (const connection of [...this.connections]) connection.close('the server stops');
    await Promise.race([Promise.all([...endings, ...leaving]), timeout]);
  }
}

function connectionsOf(session: Session): ServerConnection[] {
  return session.channels.flatMap(({ connection }) => (connection instanceof ServerConnection ? [connection] : []));
}
