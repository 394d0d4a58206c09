import { connect, type Socket } from 'node:net';
import { parseAddress } from '../../client/connect/address.ts';
import { NtlmClient } from '../../smb/auth/client.ts';
import { Command, Dialect, Flags } from '../../smb/constants.ts';
import { Status, statusName } from '../../smb/status.ts';
import { FrameReader, MAX_FRAME_SIZE } from '../../smb/wire/framing.ts';
import { encodeMessage, HEADER_SIZE, messageKind, SIGNATURE_OFFSET, splitCompound } from '../../smb/wire/header.ts';
import { encodeNegotiateRequest } from '../../smb/wire/negotiate.ts';
import { decodeSessionSetupResponse, encodeSessionSetupRequest } from '../../smb/wire/session-setup.ts';
import { inFrame, type Recorded } from './recorder.ts';

const COMMAND_AT = 12;
const CREDIT_CHARGE_AT = 6;
const STATUS_AT = 8;
const CREDITS_AT = 14;
const FLAGS_AT = 16;
const MESSAGE_ID_AT = 24;
const TREE_ID_AT = 36;
const SESSION_ID_AT = 40;
const FILE_ID_SIZE = 16;
/** FileId in the response of a CREATE. */
const CREATED_FILE_ID_AT = HEADER_SIZE + 64;
const CREDITS = 64;
const GUID_SIZE = 16;

/** A connection that sends whatever it is told to, logged on or not, and tells what came back. Never signed. */
export class RawConnection {
  readonly #socket: Socket;
  readonly #reader = new FrameReader(MAX_FRAME_SIZE);
  readonly #answers = new Map<bigint, Buffer>();
  #waiting: (() => void) | undefined;
  #nextMessageId = 0n;
  sessionId = 0n;
  isOpen = true;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.#reader.push(bytes);
      for (let message = this.#reader.next(); message; message = this.#reader.next()) this.#answered(message);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.isOpen = false;
      this.#waiting?.();
    });
  }

  static async to(address: string): Promise<RawConnection> {
    const { host, port } = parseAddress(address);
    const socket = connect({ host, port, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawConnection(socket);
  }

  /** Negotiates 3.0.2, which does not ask for signatures, and logs on. Throws Error with the status that it got instead. */
  async logOn(user: string, password: string): Promise<void> {
    const negotiate = encodeNegotiateRequest({
      ...{ securityMode: 1, capabilities: 0x7f, clientGuid: Buffer.alloc(GUID_SIZE, 9) },
      ...{ dialects: [Dialect.SMB_3_0_2], negotiateContexts: [] },
    });
    await this.#call(Command.NEGOTIATE, negotiate);
    const client = new NtlmClient({ user, password });
    let token = client.initial();
    for (;;) {
      const fields = { flags: 0, securityMode: 1, capabilities: 0, previousSessionId: 0n };
      const answer = await this.#call(
        Command.SESSION_SETUP,
        encodeSessionSetupRequest({ ...fields, securityBuffer: token }),
      );
      const status = answer.readUInt32LE(STATUS_AT);
      this.sessionId = answer.readBigUInt64LE(SESSION_ID_AT);
      if (status === Status.SUCCESS) return;
      if (status !== Status.MORE_PROCESSING_REQUIRED) throw new Error(`logging on: ${statusName(status)}`);
      token = client.step(decodeSessionSetupResponse(answer).securityBuffer).token ?? Buffer.alloc(0);
    }
  }

  /** Ids of a message and of what is compounded to it that the server takes; gives them. */
  number(parts: readonly Buffer[]): bigint[] {
    return parts.map((part) => {
      const messageId = this.#nextMessageId;
      part.writeBigUInt64LE(messageId, MESSAGE_ID_AT);
      this.#nextMessageId += BigInt(Math.max(1, part.readUInt16LE(CREDIT_CHARGE_AT)));
      return messageId;
    });
  }

  write(bytes: Buffer): void {
    if (this.isOpen) this.#socket.write(bytes);
  }

  /** The final answer, or undefined when the connection ends or the time is up before. */
  async answer(messageId: bigint, withinMs: number): Promise<Buffer | undefined> {
    const until = performance.now() + withinMs;
    while (this.isOpen && !this.#answers.has(messageId)) {
      const leftMs = until - performance.now();
      if (leftMs <= 0) return undefined;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiting = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const answer = this.#answers.get(messageId);
    this.#answers.delete(messageId);
    return answer;
  }

  close(): void {
    this.#socket.destroy();
  }

  async #call(command: number, body: Buffer): Promise<Buffer> {
    const message = encodeMessage({ command, messageId: 0, sessionId: this.sessionId, credits: CREDITS }, body);
    const [messageId = 0n] = this.number([message]);
    this.write(inFrame(message));
    const answer = await this.answer(messageId, 10_000);
    if (!answer) throw new Error(`command ${command} was not answered`);
    return answer;
  }

  #answered(message: Buffer): void {
    if (messageKind(message) !== 'smb2') return;
    for (const part of splitCompound(message)) {
      if (part.readUInt32LE(STATUS_AT) !== Status.PENDING) this.#answers.set(part.readBigUInt64LE(MESSAGE_ID_AT), part);
    }
    this.#waiting?.();
  }
}

/** A client's request of a recording, with what its server answered. */
export interface Step {
  request: Buffer;
  /** The response to each message of the compound. */
  responses: (Buffer | undefined)[];
}

/** The requests of a connection; empty where they were encrypted. */
export function stepsOf(recorded: readonly Recorded[]): Step[] {
  const responses = new Map<bigint, Buffer>();
  for (const { from, message } of recorded) {
    if (from !== 'server' || messageKind(message) !== 'smb2') continue;
    for (const part of splitCompound(message)) {
      if (part.readUInt32LE(STATUS_AT) !== Status.PENDING) responses.set(part.readBigUInt64LE(MESSAGE_ID_AT), part);
    }
  }
  return recorded
    .filter(({ from, message }) => from === 'client' && messageKind(message) === 'smb2')
    .map(({ message }) => ({
      request: message,
      responses: splitCompound(message).map((part) => responses.get(part.readBigUInt64LE(MESSAGE_ID_AT))),
    }));
}

/** The command of a request, of the first of them in a compound. */
export const commandOf = (request: Buffer): number => request.readUInt16LE(COMMAND_AT);

/** Sends what was recorded on another connection, with the ids that this one's server gave. */
export class Replay {
  readonly #connection: RawConnection;
  readonly #treeIds = new Map<number, number>();
  readonly #fileIds: [recorded: Buffer, now: Buffer][] = [];

  constructor(connection: RawConnection) {
    this.#connection = connection;
  }

  /** A copy of the request as this connection would send it, and the ids of its messages. */
  prepare(step: Step): { request: Buffer; messageIds: bigint[] } {
    const request = Buffer.from(step.request);
    for (const [recorded, now] of this.#fileIds) {
      for (let at = request.indexOf(recorded); at >= 0; at = request.indexOf(recorded, at + FILE_ID_SIZE)) {
        request.set(now, at);
      }
    }
    const parts = splitCompound(request);
    for (const part of parts) {
      part.writeUInt32LE(part.readUInt32LE(FLAGS_AT) & ~Flags.SIGNED, FLAGS_AT);
      part.fill(0, SIGNATURE_OFFSET, HEADER_SIZE);
      part.writeUInt16LE(CREDITS, CREDITS_AT);
      part.writeBigUInt64LE(this.#connection.sessionId, SESSION_ID_AT);
      const treeId = this.#treeIds.get(part.readUInt32LE(TREE_ID_AT));
      if (treeId !== undefined) part.writeUInt32LE(treeId, TREE_ID_AT);
    }
    return { request, messageIds: this.#connection.number(parts) };
  }

  /** Waits for the answers that were recorded, a moment each, and learns the ids that are in them; tells whether one was a success. */
  async learn(step: Step, messageIds: readonly bigint[], withinMs: number): Promise<boolean> {
    let succeeded = false;
    for (const [i, messageId] of messageIds.entries()) {
      const recorded = step.responses[i];
      const now = await this.#connection.answer(messageId, recorded ? withinMs : 0);
      if (now?.readUInt32LE(STATUS_AT) !== Status.SUCCESS) continue;
      succeeded = true;
      // Damage may have made another command of it.
      if (!recorded || recorded.readUInt16LE(COMMAND_AT) !== now.readUInt16LE(COMMAND_AT)) continue;
      const command = now.readUInt16LE(COMMAND_AT);
      if (command === Command.TREE_CONNECT) {
        this.#treeIds.set(recorded.readUInt32LE(TREE_ID_AT), now.readUInt32LE(TREE_ID_AT));
      } else if (command === Command.CREATE && recorded.readUInt32LE(STATUS_AT) === Status.SUCCESS) {
        this.#fileIds.push([fileIdOf(recorded), fileIdOf(now)]);
      }
    }
    return succeeded;
  }
}

function fileIdOf(createResponse: Buffer): Buffer {
  return createResponse.subarray(CREATED_FILE_ID_AT, CREATED_FILE_ID_AT + FILE_ID_SIZE);
}
