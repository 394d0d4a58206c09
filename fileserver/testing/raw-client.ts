import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { NtlmClient } from '../../smb/auth/client.ts';
import { Command, Dialect, Flags, HashAlgorithm, SecurityMode, SessionSetupFlags } from '../../smb/constants.ts';
import { type Cipher, createCipher } from '../../smb/crypto/cipher.ts';
import { deriveSessionKeys } from '../../smb/crypto/kdf.ts';
import { preauthHashStart, preauthHashUpdate } from '../../smb/crypto/preauth.ts';
import { createSigner, type Signer, signingAlgorithmOf } from '../../smb/crypto/signer.ts';
import { Status } from '../../smb/status.ts';
import { FrameReader, framePrefix } from '../../smb/wire/framing.ts';
import { decodeHeader, encodeMessage, type Header, messageKind, splitCompound } from '../../smb/wire/header.ts';
import { decodeNegotiateResponse, encodeNegotiateRequest } from '../../smb/wire/negotiate.ts';
import type { NegotiateContext } from '../../smb/wire/negotiate-contexts.ts';
import { decodeSessionSetupResponse, encodeSessionSetupRequest } from '../../smb/wire/session-setup.ts';
import { encodeTreeConnectRequest } from '../../smb/wire/tree-connect.ts';

/** A machine that has much to do answers slowly. */
const PATIENCE_MS = 20_000;

export interface RawResponse {
  header: Header;
  message: Buffer;
}

/** A client that sends exactly what a test tells it to, byte by byte if need be. AES-CMAC. */
export class RawClient {
  readonly socket: Socket;
  readonly #reader = new FrameReader(0xff_ffff);
  readonly #arrived: RawResponse[] = [];
  #wake: (() => void) | undefined;
  isClosed = false;
  nextMessageId = 0;
  sessionId = 0n;
  treeId = 0;
  signer: Signer | undefined;
  /** Where a cipher was agreed on. */
  sealer: Cipher | undefined;
  opener: Cipher | undefined;
  readonly clientGuid = randomBytes(16);
  #dialect: number = Dialect.SMB_3_1_1;
  #cipherId: number | undefined;
  #preauthHash = preauthHashStart();

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#reader.push(chunk);
      for (let frame = this.#reader.next(); frame; frame = this.#reader.next()) {
        const copy = Buffer.from(frame);
        const isSealed = messageKind(copy) === 'transform';
        for (const message of splitCompound(isSealed && this.opener ? this.opener.open(copy) : copy)) {
          this.#arrived.push({ header: decodeHeader(message), message });
        }
      }
      this.#wake?.();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.isClosed = true;
      this.#wake?.();
    });
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = connect(port, '127.0.0.1');
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawClient(socket);
  }

  /** Connected, negotiated, logged on. */
  static async loggedOn(port: number, user: string, password: string): Promise<RawClient> {
    const client = await RawClient.connect(port);
    await client.negotiate();
    const status = await client.logOn(user, password);
    if (status !== 0) throw new Error(`logon was answered 0x${status.toString(16)}`);
    return client;
  }

  /** One message with a header of this client's session and tree. */
  message(command: number, body: Buffer, header: Partial<Header> = {}): Buffer {
    const { sessionId, treeId } = this;
    const messageId = header.messageId ?? this.nextMessageId++;
    return encodeMessage({ command, messageId, credits: 32, creditCharge: 1, sessionId, treeId, ...header }, body);
  }

  sendFrame(frame: Buffer): void {
    this.socket.write(Buffer.concat([framePrefix(frame.length), frame]));
  }

  /** Sends a signed request. */
  send(command: number, body: Buffer, header: Partial<Header> = {}): void {
    const message = this.message(command, body, header);
    this.signer?.sign(message);
    this.sendFrame(message);
  }

  /** Sends an encrypted request. @param as whose key it is, if not this client's; the header stays this client's */
  sendSealed(command: number, body: Buffer, as: { sessionId: bigint; sealer: Cipher | undefined } = this): void {
    const { sessionId, sealer } = as;
    if (!sealer) throw new Error('no cipher was agreed on');
    this.sendFrame(sealer.seal({ sessionId }, this.message(command, body)));
  }

  async request(command: number, body: Buffer, header: Partial<Header> = {}): Promise<RawResponse> {
    this.send(command, body, header);
    return this.receive();
  }

  /** As `request`, but past interim responses: the one that ends the request. */
  async requestToEnd(command: number, body: Buffer): Promise<RawResponse> {
    let response = await this.request(command, body);
    while (response.header.status === Status.PENDING) response = await this.receive();
    return response;
  }

  /** The next response. Rejects when the connection ends or nothing comes. */
  async receive(withinMs = PATIENCE_MS): Promise<RawResponse> {
    const giveUpAtMs = performance.now() + withinMs;
    for (;;) {
      const response = this.#arrived.shift();
      if (response) return response;
      if (this.isClosed) throw new Error('the server closed the connection');
      const leftMs = giveUpAtMs - performance.now();
      if (leftMs <= 0) throw new Error(`no response within ${withinMs} ms`);
      await this.#somethingHappens(leftMs);
    }
  }

  /** Resolves when the server has closed the connection; rejects when it answers something or does nothing. */
  async closed(withinMs = PATIENCE_MS): Promise<void> {
    const giveUpAtMs = performance.now() + withinMs;
    while (!this.isClosed) {
      const response = this.#arrived.shift();
      if (response) throw new Error(`an answer with status 0x${response.header.status.toString(16)}`);
      const leftMs = giveUpAtMs - performance.now();
      if (leftMs <= 0) throw new Error(`still connected after ${withinMs} ms`);
      await this.#somethingHappens(leftMs);
    }
  }

  async #somethingHappens(withinMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, withinMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /**
   * @param ciphers CipherId.* that are offered; none: the client cannot encrypt
   * @param dialect the only one that is offered, 3.0 or later
   */
  async negotiate(ciphers: number[] = [], dialect: number = Dialect.SMB_3_1_1): Promise<RawResponse> {
    this.#dialect = dialect;
    const contexts: NegotiateContext[] = [
      { type: 'preauthIntegrity', hashAlgorithms: [HashAlgorithm.SHA_512], salt: randomBytes(32) },
      ...(ciphers.length === 0 ? [] : [{ type: 'encryption' as const, ciphers }]),
    ];
    const body = encodeNegotiateRequest({
      securityMode: SecurityMode.SIGNING_ENABLED,
      capabilities: 0,
      clientGuid: this.clientGuid,
      dialects: [dialect],
      negotiateContexts: dialect === Dialect.SMB_3_1_1 ? contexts : [],
    });
    const request = this.message(Command.NEGOTIATE, body);
    this.sendFrame(request);
    const response = await this.receive();
    this.#preauthHash = preauthHashUpdate(preauthHashUpdate(this.#preauthHash, request), response.message);
    if (ciphers.length > 0) {
      const contexts = decodeNegotiateResponse(response.message).negotiateContexts;
      this.#cipherId = contexts.find((context) => context.type === 'encryption')?.ciphers[0];
    }
    return response;
  }

  /** Becomes a channel of the other client's session. @returns the status of the last SESSION_SETUP response */
  bind(to: RawClient, user: string, password: string): Promise<number> {
    this.sessionId = to.sessionId;
    this.treeId = to.treeId;
    return this.logOn(user, password, 0n, to.signer);
  }

  /** @param binding key of the session that a channel is added to */
  async logOn(user: string, password: string, previousSessionId = 0n, binding?: Signer): Promise<number> {
    const ntlm = new NtlmClient({
      user,
      password,
    });
    let hash = this.#preauthHash;
    let token = ntlm.initial();
    let sessionKey: Buffer | undefined;
    for (;;) {
      const body = encodeSessionSetupRequest({
        flags: binding ? SessionSetupFlags.BINDING : 0,
        securityMode: SecurityMode.SIGNING_ENABLED,
        capabilities: 0,
        previousSessionId,
        securityBuffer: token,
      });
      const request = this.message(Command.SESSION_SETUP, body);
      (binding ?? this.signer)?.sign(request);
      this.sendFrame(request);
      hash = preauthHashUpdate(hash, request);
      const { header, message } = await this.receive();
      this.sessionId = header.sessionId;
      if (binding && header.status !== 0 && !binding.verify(message))
        throw new Error('not signed with the key of the session');
      if (header.status !== 0 && header.status !== 0xc000_0016) return header.status;
      const { securityBuffer } = decodeSessionSetupResponse(message);
      const step = ntlm.step(securityBuffer);
      sessionKey = step.sessionKey ?? sessionKey;
      if (header.status === 0 && sessionKey) {
        // Authenticated again: the keys stay.
        if (this.signer) return 0;
        const cipherId = this.#cipherId;
        const keys = deriveSessionKeys({ dialect: this.#dialect, sessionKey, preauthHash: hash, cipherId });
        if (cipherId !== undefined && keys.clientToServerKey && keys.serverToClientKey) {
          this.sealer = createCipher(cipherId, keys.clientToServerKey);
          this.opener = createCipher(cipherId, keys.serverToClientKey);
        }
        this.signer = createSigner(signingAlgorithmOf(this.#dialect), keys.signingKey);
        if (!this.signer.verify(message)) throw new Error('the last response is not signed as it should be');
        return 0;
      }
      hash = preauthHashUpdate(hash, message);
      token = step.token ?? Buffer.alloc(0);
    }
  }

  async treeConnect(share: string): Promise<number> {
    const { header } = await this.request(
      Command.TREE_CONNECT,
      encodeTreeConnectRequest({ flags: 0, path: `\\\\server\\${share}` }),
    );
    this.treeId = header.treeId;
    return header.status;
  }

  end(): void {
    this.signer?.close();
    this.sealer?.close();
    this.opener?.close();
    this.socket.destroy();
  }
}

export const RELATED: Partial<Header> = { flags: Flags.RELATED_OPERATIONS };
