// What the sidecar tells this server to do: breaks, the steps of a handoff, duties of a custodian.
import {
  type Break,
  ComingOpen,
  type DropOpen,
  type DropSession,
  type FileState,
  type Quiesce,
  type QuiesceAnswer,
  type Release,
  type RemoveFile,
  type Resume,
  type WarmUp,
} from '../proto/generated/handles.ts';
import type { SidecarCommands } from './handles/commands.ts';
import type { Server } from './session/server.ts';
import { ServerConnection } from './session/server-connection.ts';
import type { Session } from './session/session.ts';

export class Handoff implements SidecarCommands {
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
  }

  async fileState(state: FileState): Promise<boolean> {
    await this.#server.services.opens.takeFileState(state);
    return true;
  }

  break(wanted: Break): Promise<boolean> {
    return this.#server.services.opens.deliverBreak(wanted);
  }

  /** A session that is not here has ended: that is what was asked for. */
  async dropSession({ sessionId }: DropSession): Promise<boolean> {
    const session = this.#server.sessions.get(sessionId);
    // Its connections stay, as with a client that came back here: what they are still used for learns that the session is over.
    if (session) await this.#server.endSession(session, 'its client went to another server');
    return true;
  }

  /** Connections on which nobody is logged on have nothing to lose: they are reset at once. */
  async stopAccepting(): Promise<boolean> {
    this.#server.services.log.info('on the way out: new connections are reset');
    this.#server.stopAccepting();
    for (const connection of [...this.#server.connections]) {
      if (connection.channels.size === 0) connection.close('on the way out', true);
    }
    return true;
  }

  /**
   * Requests that arrive stay unread, those that are being worked on finish, and what was written is made stable. Requests that
   * wait for somebody (a lock, a break) are left waiting: they change nothing, and their client repeats them elsewhere.
   */
  async quiesce({ sessionIds, timeoutMs }: Quiesce): Promise<QuiesceAnswer> {
    const { services } = this.#server;
    if (sessionIds.length === 0) this.#server.isQuiesced = true;
    const sessions = this.#sessionsOf(sessionIds);
    for (const connection of this.#connectionsOf(sessionIds, sessions)) connection.quiesce();
    const startedMs = performance.now();
    await within(Promise.all(sessions.map((session) => session.whenQuiet())), timeoutMs / 2);
    const leftMs = Math.max(1, timeoutMs - (performance.now() - startedMs));
    const unfinishedOpenIds = await services.opens.settle(sessions, leftMs, (openId) => {
      void services.handles.quiesced(openId);
    });
    services.log.info({ sessions: sessions.length, unfinished: unfinishedOpenIds.length }, 'quiesced');
    return { unfinishedOpenIds, sessionIds: sessions.map(({ id }) => id) };
  }

  async release({ openIds, sessionIds }: Release): Promise<boolean> {
    const sessions = sessionIds.flatMap((id) => this.#server.sessions.get(id) ?? []);
    // First: what still waits is cancelled with its open, and how that ends is nothing that its client asked for.
    for (const session of sessions) session.isReleased = true;
    await this.#server.services.opens.drop(openIds);
    await Promise.all(sessions.map((session) => this.#server.releaseSession(session)));
    this.#server.services.log.info({ opens: openIds.length, sessions: sessions.length }, 'released');
    return true;
  }

  async resume({ sessionIds }: Resume): Promise<boolean> {
    if (sessionIds.length === 0) {
      this.#server.isQuiesced = false;
      this.#server.startAccepting();
    }
    for (const connection of this.#connectionsOf(sessionIds, this.#sessionsOf(sessionIds))) connection.resume();
    return true;
  }

  /** Says no where there is no room for so many (docs/limits.md): they go to another server then. */
  warmUp({ opens }: WarmUp): Promise<boolean> {
    const coming = opens.map((open) => ComingOpen.decode(open));
    return this.#server.services.opens.warmUp(coming, this.#server.accounts.limits.opens);
  }

  removeFile({ fileId, share, path }: RemoveFile): Promise<boolean> {
    return this.#server.services.opens.removeFile(fileId, share, path);
  }

  async dropOpen({ openId }: DropOpen): Promise<boolean> {
    await this.#server.services.opens.drop([openId]);
    return true;
  }

  /** Those named, or all that there are. */
  #sessionsOf(sessionIds: readonly bigint[]): Session[] {
    if (sessionIds.length === 0) return [...this.#server.sessions.values()];
    return sessionIds.flatMap((id) => this.#server.sessions.get(id) ?? []);
  }

  #connectionsOf(sessionIds: readonly bigint[], sessions: readonly Session[]): Iterable<ServerConnection> {
    if (sessionIds.length === 0) return [...this.#server.connections];
    const all = sessions.flatMap(({ channels }) => channels.map(({ connection }) => connection));
    return new Set(all.filter((connection) => connection instanceof ServerConnection));
  }
}

/** Resolves when the promise does, or when the time is over. */
async function within(promise: Promise<unknown>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([promise, timeout]);
  clearTimeout(timer);
}
