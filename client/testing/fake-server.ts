import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { ntHash } from '../../smb/auth/nt-hash.ts';
import { NtlmServer, serverNegotiateToken } from '../../smb/auth/server.ts';
import {
  Capabilities,
  Command,
  Dialect,
  Flags,
  ShareCapabilities,
  ShareType,
  SigningAlgorithmId,
} from '../../smb/constants.ts';
import { deriveSessionKeys } from '../../smb/crypto/kdf.ts';
import { preauthHashStart, preauthHashUpdate } from '../../smb/crypto/preauth.ts';
import { createSigner, type Signer } from '../../smb/crypto/signer.ts';
import { Status } from '../../smb/status.ts';
import { encodeEchoResponse } from '../../smb/wire/echo.ts';
import { encodeErrorResponse } from '../../smb/wire/error.ts';
import { FRAME_PREFIX_SIZE, FrameReader, writeFramePrefix } from '../../smb/wire/framing.ts';
import { decodeHeader, encodeHeader, HEADER_SIZE, type Header, type HeaderInit } from '../../smb/wire/header.ts';
import { encodeLogoffResponse } from '../../smb/wire/logoff.ts';
import { encodeNegotiateResponse } from '../../smb/wire/negotiate.ts';
import { decodeSessionSetupRequest, encodeSessionSetupResponse } from '../../smb/wire/session-setup.ts';
import { encodeTreeConnectResponse } from '../../smb/wire/tree-connect.ts';

export const FAKE_USER = 'alice';
export const FAKE_PASSWORD = 'correct horse';
const SIGNING = SigningAlgorithmId.AES_GMAC;
const SIGNATURE_SIZE = 16;

/** A request as the fake server got it. */
export interface FakeRequest {
  header: Header;
  /** View at its header, for the decoders of smb/wire. */
  message: Buffer;
  connection: FakeConnection;
}

/** What a handler answers: a status alone, a body with status SUCCESS, both, or nothing at all. */
export type FakeAnswer =
  | {
      status?: number;
      body?: Buffer;
      credits?: number;
      /** Not signed, or with a signature that is none. */
      signature?: 'none' | 'wrong';
    }
  | undefined;
export type FakeHandler = (request: FakeRequest) => FakeAnswer | Promise<FakeAnswer>;

export interface FakeServerOptions {
  /** What the server does beyond logon and tree connect, by Command.*; others get STATUS_NOT_SUPPORTED. */
  handlers?: Partial<Record<number, FakeHandler>>;
  /** ShareCapabilities.* of every share. */
  shareCapabilities?: number;
  /** Credits granted with each response. */
  credits?: number;
}

/** One client's connection to the fake server. */
export class FakeConnection {
  readonly socket: Socket;
  signer: Signer | undefined;
  previousSessionId = 0n;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  send(header: HeaderInit, body: Buffer, signature: 'right' | 'none' | 'wrong' = 'right'): void {
    const frame = Buffer.alloc(FRAME_PREFIX_SIZE + HEADER_SIZE + body.length);
    writeFramePrefix(frame, 0, frame.length - FRAME_PREFIX_SIZE);
    encodeHeader(header, frame, FRAME_PREFIX_SIZE);
    frame.set(body, FRAME_PREFIX_SIZE + HEADER_SIZE);
    const interim = header.status === Status.PENDING || header.messageId === -1;
    if (!interim && signature !== 'none') this.signer?.sign(frame, FRAME_PREFIX_SIZE);
    if (signature === 'wrong')
      frame.fill(0, FRAME_PREFIX_SIZE + HEADER_SIZE - SIGNATURE_SIZE, FRAME_PREFIX_SIZE + HEADER_SIZE);
    if (!this.socket.destroyed) this.socket.write(frame);
  }
}

/** An SMB 3.1.1 server that a test tells what to answer: what a real one cannot be made to do on purpose. */
export class FakeServer {
  readonly #server: Server;
  readonly #options: FakeServerOptions;
  readonly connections = new Set<FakeConnection>();
  /** All requests so far but those of the logon, in order. */
  readonly requests: FakeRequest[] = [];
  port = 0;
  /** Takes connections and requests, and answers nothing. */
  silent = false;

  private constructor(options: FakeServerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  static async start(options: FakeServerOptions = {}): Promise<FakeServer> {
    const fake = new FakeServer(options);
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve));
    const address = fake.#server.address();
    fake.port = typeof address === 'object' && address ? address.port : 0;
    return fake;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  requestsOf(command: number): FakeRequest[] {
    return this.requests.filter((request) => request.header.command === command);
  }

  /** Cuts all connections off. */
  reset(): void {
    for (const { socket } of this.connections) socket.resetAndDestroy();
  }

  async stop(): Promise<void> {
    this.reset();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: Socket): void {
    const connection = new FakeConnection(socket);
    this.connections.add(connection);
    const frames = new FrameReader(9_000_000);
    const logon = new Logon();
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('close', () => this.connections.delete(connection));
    socket.on('data', (chunk) => {
      frames.push(chunk);
      for (let message = frames.next(); message; message = frames.next()) void this.#answer(connection, logon, message);
    });
  }

  async #answer(connection: FakeConnection, logon: Logon, message: Buffer): Promise<void> {
    const header = decodeHeader(message);
    const { command } = header;
    if (command > Command.SESSION_SETUP) this.requests.push({ header, message, connection });
    if (this.silent) return;
    if (command === Command.NEGOTIATE) return logon.negotiate(connection, message);
    if (command === Command.SESSION_SETUP) return logon.sessionSetup(connection, header, message);
    const answer = await this.#handle({ header, message, connection });
    if (!answer || command === Command.CANCEL) return;
    const status = answer.status ?? Status.SUCCESS;
    const { messageId, creditCharge, treeId, sessionId } = header;
    connection.send(
      {
        command,
        messageId,
        creditCharge,
        status,
        flags: Flags.SERVER_TO_REDIR,
        credits: answer.credits ?? this.#options.credits ?? Math.max(header.credits, 1),
        treeId: command === Command.TREE_CONNECT ? 5 : treeId,
        sessionId,
      },
      answer.body ?? encodeErrorResponse(),
      answer.signature,
    );
  }

  #handle(request: FakeRequest): FakeAnswer | Promise<FakeAnswer> {
    const handler = this.#options.handlers?.[request.header.command];
    if (handler) return handler(request);
    switch (request.header.command) {
      case Command.TREE_CONNECT:
        return {
          body: encodeTreeConnectResponse({
            shareType: ShareType.DISK,
            shareFlags: 0,
            capabilities: this.#options.shareCapabilities ?? ShareCapabilities.CONTINUOUS_AVAILABILITY,
            maximalAccess: 0x1f01ff,
          }),
        };
      case Command.ECHO:
        return { body: encodeEchoResponse() };
      case Command.LOGOFF:
        return { body: encodeLogoffResponse() };
      default:
        return { status: Status.NOT_SUPPORTED };
    }
  }
}

let nextSessionId = 0x100n;

/** NEGOTIATE and SESSION_SETUP of one connection. */
class Logon {
  #preauth = preauthHashStart();
  #ntlm: NtlmServer | undefined;
  readonly #sessionId = nextSessionId++;

  negotiate(connection: FakeConnection, message: Buffer): void {
    this.#preauth = preauthHashUpdate(this.#preauth, message);
    const body = encodeNegotiateResponse({
      securityMode: 3,
      dialectRevision: Dialect.SMB_3_1_1,
      serverGuid: randomBytes(16),
      capabilities: Capabilities.LARGE_MTU | Capabilities.PERSISTENT_HANDLES,
      maxTransactSize: 1 << 20,
      maxReadSize: 1 << 20,
      maxWriteSize: 1 << 20,
      systemTime: 0n,
      serverStartTime: 0n,
      securityBuffer: serverNegotiateToken(),
      negotiateContexts: [
        { type: 'preauthIntegrity', hashAlgorithms: [1], salt: randomBytes(32) },
        { type: 'signing', algorithms: [SIGNING] },
      ],
    });
    this.#send(
      connection,
      { command: Command.NEGOTIATE, messageId: 0, credits: 1, flags: Flags.SERVER_TO_REDIR },
      body,
      true,
    );
  }

  sessionSetup(connection: FakeConnection, header: Header, message: Buffer): void {
    this.#preauth = preauthHashUpdate(this.#preauth, message);
    const request = decodeSessionSetupRequest(message);
    connection.previousSessionId = request.previousSessionId;
    this.#ntlm ??= new NtlmServer({
      targetName: 'FAKE',
      dnsName: 'fake',
      lookup: (user) => (user.toLowerCase() === FAKE_USER ? ntHash(FAKE_PASSWORD) : undefined),
      nowFiletime: () => BigInt(Date.now()) * 10_000n + 116_444_736_000_000_000n,
    });
    const reply: HeaderInit = {
      command: Command.SESSION_SETUP,
      messageId: header.messageId,
      credits: 8,
      flags: Flags.SERVER_TO_REDIR,
      sessionId: this.#sessionId,
    };
    let step: ReturnType<NtlmServer['step']>;
    try {
      step = this.#ntlm.step(request.securityBuffer);
    } catch {
      this.#send(connection, { ...reply, status: Status.LOGON_FAILURE }, encodeErrorResponse(), false);
      return;
    }
    const body = encodeSessionSetupResponse({ sessionFlags: 0, securityBuffer: step.token });
    if (!step.done) {
      this.#send(connection, { ...reply, status: Status.MORE_PROCESSING_REQUIRED }, body, true);
      return;
    }
    const keys = deriveSessionKeys({
      dialect: Dialect.SMB_3_1_1,
      sessionKey: step.sessionKey,
      preauthHash: this.#preauth,
    });
    connection.signer = createSigner(SIGNING, keys.signingKey);
    connection.send(reply, body);
  }

  #send(connection: FakeConnection, header: HeaderInit, body: Buffer, hashed: boolean): void {
    connection.send(header, body);
    if (!hashed) return;
    const message = Buffer.alloc(HEADER_SIZE + body.length);
    encodeHeader(header, message, 0);
    message.set(body, HEADER_SIZE);
    this.#preauth = preauthHashUpdate(this.#preauth, message);
  }
}
