import { NtlmClient } from '../../smb/auth/client.ts';
import { Command, SecurityMode, SessionFlags, ShareFlags } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeLogoffRequest } from '../../smb/wire/logoff.ts';
import { decodeSessionSetupResponse, encodeSessionSetupRequest } from '../../smb/wire/session-setup.ts';
import {
  decodeTreeConnectResponse,
  encodeTreeConnectRequest,
  type TreeConnectResponse,
} from '../../smb/wire/tree-connect.ts';
import { addressText } from '../connect/address.ts';
import { SmbError } from '../errors.ts';
import type { Connection, OutgoingRequest, Response } from './connection.ts';
import { ESTABLISH_TIMEOUT_MS, LOGOFF_TIMEOUT_MS } from './constants.ts';
import { PreauthChain, SessionSecurity } from './session-security.ts';
import { validateNegotiation } from './validate-negotiation.ts';

/** Who logs on. */
export interface Credentials {
  user: string;
  /** Empty: the server's own accounts. */
  domain?: string;
  password: string;
}

export interface SessionOptions {
  /** The session that this one takes the place of (MS-SMB2 2.2.5 PreviousSessionId); 0: none. */
  previousSessionId?: bigint;
  /** Encrypt everything, whether or not the server demands it. */
  encryption?: boolean;
  /** For each exchange. Default: ESTABLISH_TIMEOUT_MS. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** A share, connected. */
export interface TreeConnect extends TreeConnectResponse {
  treeId: number;
  share: string;
}

/** An authenticated session on a connection (MS-SMB2 3.2.1.3). All that it sends is signed or encrypted. */
export class Session {
  readonly connection: Connection;
  readonly sessionId: bigint;
  readonly #security: SessionSecurity;

  private constructor(connection: Connection, security: SessionSecurity) {
    this.connection = connection;
    this.sessionId = security.sessionId;
    this.#security = security;
  }

  /**
   * Logs on with NTLMv2 (MS-SMB2 3.2.4.2.3). Throws SmbError with the server's status (STATUS_LOGON_FAILURE, ...); the
   * connection is of no more use then.
   */
  static async establish(
    connection: Connection,
    credentials: Credentials,
    options: SessionOptions = {},
  ): Promise<Session> {
    const what = `logging on to ${addressText(connection.address)} as ${credentials.user}`;
    const ntlm = new NtlmClient({
      user: credentials.user,
      password: credentials.password,
      domain: credentials.domain ?? '',
      targetSpn: `cifs/${connection.options.serverName}`,
    });
    const preauth = new PreauthChain(connection.negotiateExchange);
    let token: Buffer | undefined = ntlm.initial();
    let sessionKey: Buffer | undefined;
    for (;;) {
      const { sent, response } = await connection.sendRecorded({
        command: Command.SESSION_SETUP,
        body: encodeSessionSetupRequest({
          flags: 0,
          securityMode: SecurityMode.SIGNING_ENABLED | SecurityMode.SIGNING_REQUIRED,
          capabilities: 0,
          previousSessionId: options.previousSessionId ?? 0n,
          securityBuffer: token ?? Buffer.alloc(0),
        }),
        signal: establishSignal(options),
      });
      preauth.update(sent);
      const { status, message } = response;
      if (status !== Status.SUCCESS && status !== Status.MORE_PROCESSING_REQUIRED)
        throw SmbError.fromStatus(status, what);
      const { securityBuffer, sessionFlags } = decodeSessionSetupResponse(message);
      connection.sessionIdWhileSettingUp = message.readBigUInt64LE(40);
      const step = ntlm.step(securityBuffer);
      token = step.token;
      sessionKey = step.sessionKey ?? sessionKey;
      if (status === Status.SUCCESS) {
        if ((sessionFlags & (SessionFlags.IS_GUEST | SessionFlags.IS_NULL)) !== 0 || !sessionKey) {
          throw new SmbError(
            'STATUS_LOGON_FAILURE',
            `${what}: the server took us for a guest, whose messages cannot be trusted`,
          );
        }
        const encrypts = options.encryption === true || (sessionFlags & SessionFlags.ENCRYPT_DATA) !== 0;
        return Session.#secured(connection, sessionKey, preauth, message, encrypts);
      }
      preauth.update(message);
    }
  }

  /** Derives the keys, and checks the last answer with them: only who knows the password can have signed it. */
  static #secured(
    connection: Connection,
    sessionKey: Buffer,
    preauth: PreauthChain,
    last: Buffer,
    encrypts: boolean,
  ): Session {
    const sessionId = connection.sessionIdWhileSettingUp;
    const security = new SessionSecurity(sessionId, sessionKey, connection.negotiated, preauth.value);
    if (!security.verify(last)) {
      throw new SmbError(
        'PROTOCOL_VIOLATION',
        `${addressText(connection.address)}: the end of the logon has a wrong signature`,
      );
    }
    connection.secure(security);
    if (encrypts) security.encryptFromNow();
    return new Session(connection, security);
  }

  /** Sends any request on this session; see Connection.send. */
  send(request: OutgoingRequest): Promise<Response> {
    return this.connection.send(request);
  }

  /** Connects a share; with one that demands encryption the whole session is encrypted from then on. */
  async treeConnect(share: string, signal?: AbortSignal, timeoutMs = ESTABLISH_TIMEOUT_MS): Promise<TreeConnect> {
    const path = `\\\\${this.connection.options.serverName}\\${share}`;
    const { status, message } = await this.send({
      command: Command.TREE_CONNECT,
      body: encodeTreeConnectRequest({ flags: 0, path }),
      signal: establishSignal({ signal, timeoutMs }),
    });
    if (status !== Status.SUCCESS) {
      throw SmbError.fromStatus(status, `connecting to the share ${share} at ${addressText(this.connection.address)}`);
    }
    const tree = { ...decodeTreeConnectResponse(message), treeId: message.readUInt32LE(36), share };
    if ((tree.shareFlags & ShareFlags.ENCRYPT_DATA) !== 0) this.#security.encryptFromNow();
    await validateNegotiation(this.connection, tree.treeId, establishSignal({ signal, timeoutMs }));
    return tree;
  }

  /** Ends the session, so that the server drops what it holds for it, and closes the connection. Never throws. */
  async logoff(): Promise<void> {
    try {
      await this.send({
        command: Command.LOGOFF,
        body: encodeLogoffRequest(),
        signal: AbortSignal.timeout(LOGOFF_TIMEOUT_MS),
      });
    } catch {
      // The connection is going in any case.
    }
    this.connection.close();
  }
}

function establishSignal({
  timeoutMs = ESTABLISH_TIMEOUT_MS,
  signal,
}: Pick<SessionOptions, 'timeoutMs' | 'signal'>): AbortSignal {
  const limit = AbortSignal.timeout(timeoutMs);
  return signal ? AbortSignal.any([signal, limit]) : limit;
}
