import { Command } from '../../smb/constants.ts';
import { Status, statusName } from '../../smb/status.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { isConnectionLoss, SmbError } from '../errors.ts';
import type { Response } from '../session/connection.ts';
import { Backoff } from './backoff.ts';
import { createParameters, type OpenOptions, openingRequest, reclaimingRequest } from './create-parameters.ts';
import { type Deadline, Deadlines } from './deadlines.ts';
import type { Failover } from './failover.ts';
import { isContinuouslyAvailable, type Link } from './link.ts';
import { Open } from './open.ts';
import { closeRequest } from './requests.ts';
import { reactionTo } from './statuses.ts';

/** One request on an open, in a form that can be sent again on another connection. */
export interface OpenRequest {
  /** Command.* */
  command: number;
  /** For messages: what was tried. */
  doing: string;
  /** The body for the FileId that the open has now. */
  body: (fileId: FileId) => Buffer;
  tail?: Buffer;
  /** Bytes carried or asked for. */
  payloadBytes?: number;
  signal?: AbortSignal;
}

export interface Answer {
  response: Response;
  /** Whether it was sent more than once: the first may have been carried out, its answer lost. */
  replayed: boolean;
}

const NO_FILE_ID: FileId = { persistent: 0n, volatile: 0n };

/** Carries operations out, whatever happens to connections meanwhile, until their deadline. */
export class Operations {
  readonly #failover: Failover;
  readonly #deadlines: Deadlines;

  constructor(failover: Failover, timeoutMs: number) {
    this.#failover = failover;
    this.#deadlines = new Deadlines(timeoutMs);
  }

  /**
   * Sends a request on an open until it is answered with something that is for the caller. After the loss of a connection it is
   * sent again as a replay (SMB2_FLAGS_REPLAY_OPERATION), once the open is reclaimed.
   */
  async onOpen(open: Open, request: OpenRequest): Promise<Answer> {
    const deadline = this.#deadlines.start(request.signal);
    try {
      return await this.#onOpen(open, request, deadline);
    } catch (error) {
      throw explained(error, request.doing, open.path);
    } finally {
      this.#deadlines.end(deadline);
    }
  }

  async #onOpen(open: Open, request: OpenRequest, deadline: Deadline): Promise<Answer> {
    let replay = false;
    let backoff: Backoff | undefined;
    let cutOff = false;
    for (;;) {
      const ready = this.#failover.link;
      const link =
        ready !== undefined && open.link === ready ? ready : await this.#failover.usable(open, deadline.signal);
      if (request.command === Command.CLOSE) open.closeSent = true;
      let response: Response;
      try {
        response = await link.session.send({
          command: request.command,
          body: request.body(open.fileId),
          tail: request.tail,
          payloadBytes: request.payloadBytes,
          treeId: link.tree.treeId,
          channelSequence: this.#failover.channelSequence,
          replay,
          signal: deadline.signal,
        });
      } catch (error) {
        if (!isConnectionLoss(error)) throw error;
        replay = true;
        continue;
      }
      if (response.status === Status.SUCCESS) return { response, replayed: replay };
      const reaction = reactionTo(response.status);
      if (reaction === 'reconnect') {
        this.#failover.abandon(link, lostWith(response.status));
      } else if (reaction === 'retry') {
        backoff ??= new Backoff();
        await backoff.wait(deadline.signal);
      } else if (
        response.status === Status.FILE_CLOSED &&
        request.command !== Command.CLOSE &&
        !open.closed &&
        !cutOff
      ) {
        cutOff = true;
        this.#failover.cutOff(open);
      } else {
        return { response, replayed: replay };
      }
    }
  }

  /** Opens a path. Throws SmbError with the server's status. */
  async open(path: string, options: OpenOptions): Promise<{ open: Open; createAction: number; size: number }> {
    const deadline = this.#deadlines.start(options.signal);
    try {
      const link = await this.#failover.linked(deadline.signal);
      const parameters = createParameters(path, options, isContinuouslyAvailable(link));
      return await this.#open(parameters, deadline);
    } catch (error) {
      throw explained(error, 'opening', path);
    } finally {
      this.#deadlines.end(deadline);
    }
  }

  async #open(parameters: ReturnType<typeof createParameters>, deadline: Deadline) {
    const opening = encodeCreateRequest(openingRequest(parameters));
    let body = opening;
    let replay = false;
    let refusal: number | undefined;
    const backoff = new Backoff();
    for (;;) {
      const link = await this.#failover.linked(deadline.signal);
      const reclaiming = body !== opening;
      let response: Response;
      try {
        response = await link.session.send({
          command: Command.CREATE,
          body,
          treeId: link.tree.treeId,
          channelSequence: this.#failover.channelSequence,
          replay: replay && !reclaiming,
          signal: deadline.signal,
          onLate: (late) => this.#closeUnwanted(link, late),
        });
      } catch (error) {
        if (!isConnectionLoss(error)) throw error;
        // Whether the server has opened it is not known. One that is not durable is gone with the connection.
        replay = parameters.durability !== 'none';
        body = opening;
        continue;
      }
      const { status, message } = response;
      if (status === Status.SUCCESS) {
        const created = decodeCreateResponse(message);
        const open = new Open(parameters, created, link, reclaiming);
        this.#failover.add(open);
        return { open, createAction: created.createAction, size: created.endOfFile };
      }
      const reaction = reactionTo(status);
      if (reaction === 'reconnect') this.#failover.abandon(link, lostWith(status));
      else if (reaction === 'retry') await backoff.wait(deadline.signal);
      else if (replay && !reclaiming && ANSWERS_TO_OWN_OPEN.has(status)) {
        // Our own open of before the loss may be what is in the way: ask for it by its CreateGuid (MS-SMB2 3.3.5.9.12).
        refusal = status;
        const held = { fileId: NO_FILE_ID, durability: parameters.durability, oplockLevel: 0 };
        body = encodeCreateRequest(reclaimingRequest(parameters, held));
      } else if (reclaiming && status === Status.OBJECT_NAME_NOT_FOUND && refusal !== undefined) {
        // It is not there: what was in the way is somebody else's, and that was the answer. Nobody else has this CreateGuid, though: what
        // the first request had opened, too late for its answer, was taken back meanwhile.
        if (refusal !== Status.DUPLICATE_OBJECTID) throw SmbError.fromStatus(refusal, 'CREATE');
        refusal = undefined;
        body = opening;
        await backoff.wait(deadline.signal);
      } else throw SmbError.fromStatus(status, 'CREATE');
    }
  }

  /** Closes what a CREATE opened after its caller had given up. */
  #closeUnwanted(link: Link, late: Response): void {
    if (late.status !== Status.SUCCESS) return;
    const { fileId } = decodeCreateResponse(late.message);
    link.session
      .send({ command: Command.CLOSE, body: closeRequest(fileId), treeId: link.tree.treeId })
      .catch(() => undefined);
  }

  /** Closes an open. What the server does not know any more is closed, too. */
  async close(open: Open, signal?: AbortSignal): Promise<void> {
    if (open.closed) return;
    try {
      const { response, replayed } = await this.onOpen(open, {
        command: Command.CLOSE,
        doing: 'closing',
        body: closeRequest,
        signal,
      });
      const { status } = response;
      const closedBefore = replayed && status === Status.FILE_CLOSED;
      if (status !== Status.SUCCESS && !closedBefore) throw SmbError.fromStatus(status, `closing ${open.path}`);
    } catch (error) {
      if (!open.closed) throw error; // else it turned out that the CLOSE whose answer was lost had been carried out
    } finally {
      this.#failover.remove(open);
    }
  }
}

/** What a server may say to a replayed CREATE when the first one was carried out. */
const ANSWERS_TO_OWN_OPEN: ReadonlySet<number> = new Set([
  Status.DUPLICATE_OBJECTID,
  Status.SHARING_VIOLATION,
  Status.OBJECT_NAME_COLLISION,
  Status.ACCESS_DENIED,
]);

function lostWith(status: number): SmbError {
  return new SmbError('CONNECTION_LOST', `the server ended the session or the share: ${statusName(status)}`, {
    status,
  });
}

/** The same error, saying what was tried on what. */
function explained(error: unknown, doing: string, path: string): unknown {
  if (!(error instanceof SmbError)) return error;
  return new SmbError(error.code, `${doing} ${path === '' ? 'the share' : path}: ${error.message}`, {
    status: error.status,
    cause: error,
  });
}
