// What is in use, by user and in the whole server, and how much may be (docs/limits.md).

import type { ClusterConfig } from '../../common/config.ts';

/** How much may be in use at once. Bytes are of requests, of replies that are being made, and of replies that wait for their client. */
export interface Limits {
  /** TCP connections; of these, such that nobody has logged on to yet. */
  readonly connections: number;
  readonly connectionsBeforeLogon: number;
  readonly sessions: number;
  readonly opens: number;
  /** Requests that are being worked on; those that wait for somebody (STATUS_PENDING) are counted by themselves. */
  readonly requests: number;
  readonly waitingRequests: number;
  readonly bytesInFlight: number;
  /** The same of one user; connections are counted once a session that uses them. */
  readonly perUser: {
    readonly connections: number;
    readonly sessions: number;
    readonly opens: number;
    readonly requests: number;
    readonly waitingRequests: number;
    readonly bytesInFlight: number;
  };
}

/**
 * Chosen so that a file server that is driven to all of them at once lives in 512 MiB (docs/limits.md has the sum). One user may take three
 * quarters: often a whole cluster of clients has one account.
 */
export const DEFAULT_LIMITS: Limits = {
  connections: 2048,
  connectionsBeforeLogon: 512,
  sessions: 2048,
  opens: 12_288,
  requests: 8192,
  waitingRequests: 8192,
  bytesInFlight: 80 * 1024 * 1024,
  perUser: {
    connections: 1536,
    sessions: 1536,
    opens: 9216,
    requests: 6144,
    waitingRequests: 6144,
    bytesInFlight: 60 * 1024 * 1024,
  },
};
/** How far beyond bytesInFlight those come together that have nothing else in flight, as a factor. */
const OVERFULL = 1.25;

/** The defaults, and what the configuration says otherwise. */
export function limitsOf({ limits = {} }: Pick<ClusterConfig, 'limits'>): Limits {
  return { ...DEFAULT_LIMITS, ...limits, perUser: { ...DEFAULT_LIMITS.perUser, ...limits.perUser } };
}

/** What one user has in use, or everybody together. */
export class Usage {
  channels = 0;
  sessions = 0;
  /** Of sessions that are there; the server's own count is that of the table of opens. */
  opens = 0;
  /** CREATEs that are under way: each may become an open. */
  creates = 0;
  requests = 0;
  waitingRequests = 0;
  bytesInFlight = 0;
  trees = 0;
  pipes = 0;
}

/** Tree connects and named pipes are small, and nobody needs many: of all users together, and of one. */
const MAX_TREES = 16_384;
const MAX_PIPES = 512;
const SHARE_OF_ONE_USER = 0.75;

/** Connections that are woken at once when something became free. */
const WOKEN_AT_ONCE = 8;

/** Keeps count of what is in use. Nothing here refuses: who asks for more looks first whether there is room. */
export class Accounts {
  readonly limits: Limits;
  readonly server = new Usage();
  readonly #users = new Map<string, Usage>();
  #waiting: (() => void)[] = [];
  #isWaking = false;

  constructor(limits: Limits = DEFAULT_LIMITS) {
    this.limits = limits;
  }

  /** @param sid whose */
  of(sid: string): Usage {
    let usage = this.#users.get(sid);
    if (!usage) {
      usage = new Usage();
      this.#users.set(sid, usage);
    }
    return usage;
  }

  /** Whether the user may set up one more session (with one more channel). */
  hasRoomForSession(user: Usage): boolean {
    const { sessions, perUser } = this.limits;
    return this.server.sessions < sessions && user.sessions < perUser.sessions && this.hasRoomForChannel(user);
  }

  /** Whether one more CREATE may begin. @param opens that the server has */
  hasRoomForOpen(user: Usage | undefined, opens: number): boolean {
    const { limits, server } = this;
    if (opens + server.creates >= limits.opens) return false;
    return !user || user.opens + user.creates < limits.perUser.opens;
  }

  hasRoomForTree(user: Usage | undefined): boolean {
    return this.server.trees < MAX_TREES && (user?.trees ?? 0) < MAX_TREES * SHARE_OF_ONE_USER;
  }

  hasRoomForPipe(user: Usage | undefined): boolean {
    return this.server.pipes < MAX_PIPES && (user?.pipes ?? 0) < MAX_PIPES * SHARE_OF_ONE_USER;
  }

  hasRoomForChannel(user: Usage): boolean {
    return user.channels < this.limits.perUser.connections;
  }

  /** Whether one more request may wait for somebody. */
  hasRoomToWait(user: Usage | undefined): boolean {
    const { waitingRequests, perUser } = this.limits;
    return this.server.waitingRequests < waitingRequests && (!user || user.waitingRequests < perUser.waitingRequests);
  }

  /** Whether requests are to be left unread: of everybody, or of this user. On the way of every message. */
  isFull(user: Usage | undefined): boolean {
    const { limits, server } = this;
    if (server.bytesInFlight > limits.bytesInFlight || server.requests > limits.requests) return true;
    if (!user) return false;
    return user.bytesInFlight > limits.perUser.bytesInFlight || user.requests > limits.perUser.requests;
  }

  /** Whether not even a connection that has nothing in flight is served: the quarter more that these may take is used up. */
  isOverfull(): boolean {
    return this.server.bytesInFlight > this.limits.bytesInFlight * OVERFULL;
  }

  /** Counts bytes; negative ones are free again. */
  addBytes(bytes: number, user: Usage | undefined): void {
    this.server.bytesInFlight += bytes;
    if (user) user.bytesInFlight += bytes;
    if (bytes < 0 && this.#waiting.length > 0) this.#wake();
  }

  addRequests(requests: number, user: Usage | undefined): void {
    this.server.requests += requests;
    if (user) user.requests += requests;
    if (requests < 0 && this.#waiting.length > 0) this.#wake();
  }

  addCreates(creates: number, user: Usage | undefined): void {
    this.server.creates += creates;
    if (user) user.creates += creates;
  }

  /** A request of the user has begun to wait for somebody, or ended to. */
  addWaiting(requests: number, user: Usage | undefined): void {
    this.server.waitingRequests += requests;
    if (user) user.waitingRequests += requests;
  }

  addSessions(sessions: number, user: Usage): void {
    this.server.sessions += sessions;
    user.sessions += sessions;
  }

  addTrees(trees: number, user: Usage | undefined): void {
    this.server.trees += trees;
    if (user) user.trees += trees;
  }

  addPipes(pipes: number, user: Usage | undefined): void {
    this.server.pipes += pipes;
    if (user) user.pipes += pipes;
  }

  addChannels(channels: number, user: Usage): void {
    this.server.channels += channels;
    user.channels += channels;
  }

  /** Calls back when something became free; it may be in use again by then, and who called waits anew. First come, first served. */
  whenFreed(wake: () => void): void {
    this.#waiting.push(wake);
  }

  #wake(): void {
    if (this.#isWaking) return;
    this.#isWaking = true;
    setImmediate(() => {
      this.#isWaking = false;
      for (const wake of this.#waiting.splice(0, WOKEN_AT_ONCE)) wake();
    });
  }
}
