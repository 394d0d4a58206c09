// SESSION_SETUP (MS-SMB2 3.3.5.5).
import { setTimeout as sleep } from 'node:timers/promises';
import { Outcome } from '../../proto/generated/handles.ts';
import { AuthError } from '../../smb/auth/errors.ts';
import { NtlmServer, type NtlmServerStep } from '../../smb/auth/server.ts';
import { Dialect, SecurityMode, SessionFlags, SessionSetupFlags } from '../../smb/constants.ts';
import { createCipher } from '../../smb/crypto/cipher.ts';
import { deriveSessionKeys } from '../../smb/crypto/kdf.ts';
import { preauthHashUpdate } from '../../smb/crypto/preauth.ts';
import { createSigner } from '../../smb/crypto/signer.ts';
import { filetimeFromUnixNs } from '../../smb/fscc/filetime.ts';
import { wellKnownSids } from '../../smb/security/sid.ts';
import { Status } from '../../smb/status.ts';
import {
  decodeSessionSetupRequest,
  encodeSessionSetupResponse,
  type SessionSetupRequest,
} from '../../smb/wire/session-setup.ts';
import { statusOfOutcome } from '../handles.ts';
import { refusalToBind } from '../session/binding.ts';
import type { Call } from '../session/call.ts';
import type { ConnectionHost, SessionSetup } from '../session/host.ts';
import { type Reply, reply, statusReply } from '../session/request.ts';
import { type Channel, Session, type User } from '../session/session.ts';

/** Who gives neither name nor password. */
const NOBODY: User = {
  name: '',
  sid: wellKnownSids.anonymous,
  token: { user: wellKnownSids.anonymous, sids: new Set([wellKnownSids.anonymous, wellKnownSids.network]) },
};
/** Sessions of one connection: a client has one a user. */
const MAX_SESSIONS_PER_CONNECTION = 64;

export function sessionSetup(call: Call): Reply | Promise<Reply> {
  const { connection } = call;
  const request = decodeSessionSetupRequest(call.message);
  if (connection.server.isStopping) {
    connection.close('on its way out: no sessions are set up', true);
    return statusReply(Status.SERVER_UNAVAILABLE);
  }
  // 3.3.5.5: who cannot encrypt cannot have a session where all of them are encrypted.
  const encryptsAll = call.services.settings.config.security.encryption === 'Required';
  if (encryptsAll && !connection.canEncrypt) return statusReply(Status.ACCESS_DENIED);
  if (call.header.sessionId === 0n) return begin(call, request);
  const isBinding = (request.flags & SessionSetupFlags.BINDING) !== 0;
  const channel = connection.channels.get(call.header.sessionId);
  if (!channel) return isBinding ? bind(call, request) : statusReply(Status.USER_SESSION_DELETED);
  const { session } = channel;
  if (session.state !== 'InProgress') {
    if (!isFromClient(call, channel)) {
      proves(call, session);
      return statusReply(Status.ACCESS_DENIED);
    }
    call.enter(channel);
    if (isBinding) return statusReply(Status.REQUEST_NOT_ACCEPTED);
  }
  return step(call, request, session);
}

/** A new session (3.3.5.5.1). */
function begin(call: Call, request: SessionSetupRequest): Reply | Promise<Reply> {
  const { connection } = call;
  const id = connection.server.nextSessionId();
  if (id === undefined || connection.channels.size >= MAX_SESSIONS_PER_CONNECTION) {
    return statusReply(Status.INSUFFICIENT_RESOURCES);
  }
  const session = new Session(id, connection);
  session.signingRequired = false;
  const [channel] = session.channels;
  if (channel) connection.channels.set(id, channel);
  call.sessionId = id;
  return step(call, request, session);
}

/** 3.3.5.2.4 for a session that is valid already and authenticates again (3.3.5.5.2). */
function isFromClient(call: Call, { session, signer }: Channel): boolean {
  if (call.sealedBy) return call.sealedBy === session;
  return call.isSigned ? signer?.verify(call.message) === true : !session.signingRequired;
}

/** Whether the request is signed with Session.SigningKey, as before a channel has its own; then so is the answer. */
function proves(call: Call, session: Session): boolean {
  if (!call.isSigned || !session.signer?.verify(call.message)) return false;
  call.signing = session;
  return true;
}

/** One more channel for a session that is established (3.3.5.5). */
function bind(call: Call, request: SessionSetupRequest): Reply | Promise<Reply> {
  const { connection } = call;
  const session = connection.server.sessions.get(call.header.sessionId);
  if (!session || session.state === 'Ended' || !connection.negotiated) return statusReply(Status.USER_SESSION_DELETED);
  const isProven = proves(call, session);
  const refusal = refusalToBind({
    session: session.security,
    isExpired: session.state === 'Expired',
    isAnonymous: session.isAnonymous,
    channels: session.channels.length,
    connection: connection.negotiated,
    isSigned: call.isSigned,
  });
  if (refusal !== undefined) return statusReply(refusal);
  return isProven ? step(call, request, session, true) : statusReply(Status.ACCESS_DENIED);
}

/** One message of the exchange. */
function step(call: Call, request: SessionSetupRequest, session: Session, isBinding = false): Reply | Promise<Reply> {
  const { connection } = call;
  const setup = connection.setups.get(session.id) ?? newSetup(connection, isBinding);
  if (setup.isBusy || setup.isBinding !== isBinding) return statusReply(Status.REQUEST_NOT_ACCEPTED);
  connection.setups.set(session.id, setup);
  if (connection.dialect === Dialect.SMB_3_1_1) setup.preauthHash = preauthHashUpdate(setup.preauthHash, call.message);
  const claimed = connection.server.throttle.isQuiet ? undefined : setup.ntlm.claimedUser(request.securityBuffer);
  const delayMs = claimed === undefined ? 0 : connection.server.throttle.delayBefore(claimed, connection.remoteAddress);
  if (delayMs === 0) return advance(call, request, session, setup);
  return delayed(call, request, session, setup, delayMs);
}

/** A guess among many: looked at later, or not at all. It holds up its own connection's exchange and nobody else. */
async function delayed(
  call: Call,
  request: SessionSetupRequest,
  session: Session,
  setup: SessionSetup,
  delayMs: number | undefined,
): Promise<Reply> {
  if (delayMs === undefined) {
    call.connection.log.info('logon not looked at: too many failed');
    giveUp(call.connection, session, setup);
    return statusReply(Status.ACCOUNT_LOCKED_OUT);
  }
  setup.isBusy = true;
  await sleep(delayMs, undefined, { ref: false });
  setup.isBusy = false;
  return advance(call, request, session, setup);
}

/** Looks at the token. */
function advance(
  call: Call,
  request: SessionSetupRequest,
  session: Session,
  setup: SessionSetup,
): Reply | Promise<Reply> {
  const { connection } = call;
  let progress: NtlmServerStep;
  try {
    progress = setup.ntlm.step(request.securityBuffer);
  } catch (error) {
    if (!(error instanceof AuthError)) throw error;
    return refuse(call, session, setup, error);
  }
  if (!progress.done) {
    if (connection.dialect === Dialect.SMB_3_1_1) {
      call.onResponse = (message) => {
        setup.preauthHash = preauthHashUpdate(setup.preauthHash, message);
      };
    }
    const body = encodeSessionSetupResponse({ sessionFlags: 0, securityBuffer: progress.token });
    return reply(body, Status.MORE_PROCESSING_REQUIRED);
  }
  const user = progress.isAnonymous ? NOBODY : connection.server.users.find(progress.user);
  if (!user) return refuse(call, session, setup, new AuthError('LOGON_FAILURE', 'the user is gone'));
  setup.isBusy = true;
  return establish(call, request, session, setup, user, progress);
}

function newSetup(connection: ConnectionHost, isBinding: boolean): SessionSetup {
  const { server } = connection;
  const { settings } = server.services;
  const ntlm = new NtlmServer({
    targetName: settings.serverName,
    dnsName: settings.serverName,
    lookup: (user) => server.users.ntHashOf(user),
    allowAnonymous: settings.config.security.anonymousIpc === true,
    nowFiletime: () => filetimeFromUnixNs(BigInt(Date.now()) * 1_000_000n),
  });
  return { ntlm, preauthHash: connection.preauthHash, isBusy: false, isBinding };
}

/** The exchange failed: the session is gone, also one that was valid before (3.3.5.5.3), unless a channel was to be added to it. */
async function refuse(call: Call, session: Session, setup: SessionSetup, error: AuthError): Promise<Reply> {
  const { connection, services } = call;
  setup.isBusy = true;
  services.metrics.logonFailed();
  connection.log.info({ user: error.user, reason: error.message }, 'logon refused');
  if (error.code === 'LOGON_FAILURE') {
    const delayMs = connection.server.throttle.failed(error.user ?? '', connection.remoteAddress);
    await sleep(delayMs, undefined, { ref: false });
  }
  giveUp(connection, session, setup);
  return statusReply(Status[error.code]);
}

function giveUp(connection: ConnectionHost, session: Session, setup: SessionSetup): void {
  connection.setups.delete(session.id);
  if (!setup.isBinding) discard(connection, session);
}

function discard(connection: ConnectionHost, session: Session): void {
  if (session.state === 'InProgress') connection.dropChannel(session.id);
  else void connection.server.endSession(session, 'authentication failed', 0, connection);
}

/** The user is who he says: 3.3.5.5.3. Nothing is answered before the session is stored and its predecessor has ended. */
async function establish(
  call: Call,
  request: SessionSetupRequest,
  session: Session,
  setup: SessionSetup,
  user: User,
  progress: Extract<NtlmServerStep, { done: true }>,
): Promise<Reply> {
  const { connection } = call;
  const success = (): Reply => {
    const sessionFlags =
      (session.encryptData ? SessionFlags.ENCRYPT_DATA : 0) | (session.isAnonymous ? SessionFlags.IS_NULL : 0);
    return reply(encodeSessionSetupResponse({ sessionFlags, securityBuffer: progress.token }));
  };
  connection.setups.delete(session.id);
  if (!progress.isAnonymous) connection.server.throttle.succeeded(progress.user, connection.remoteAddress);
  if (setup.isBinding) {
    if (session.user?.sid !== user.sid) return statusReply(Status.ACCESS_DENIED);
    const refusal = addChannel(call, session, setup, progress.sessionKey);
    return refusal === undefined ? success() : statusReply(refusal);
  }
  if (session.state !== 'InProgress') {
    // Authenticated again: the same keys stay (3.3.5.5.3). Another user would be another session; nobody at all opens nothing new.
    if (session.user?.sid !== user.sid && !progress.isAnonymous) {
      discard(connection, session);
      return statusReply(Status.ACCESS_DENIED);
    }
    session.isAnonymous = progress.isAnonymous;
    if (session.state === 'Expired') session.state = 'Valid';
    return success();
  }
  const { accounts } = connection.server;
  const usage = accounts.of(user.sid);
  if (!accounts.hasRoomForSession(usage)) {
    connection.dropChannel(session.id);
    connection.log.warn({ user: user.name }, 'too many sessions');
    return statusReply(Status.INSUFFICIENT_RESOURCES);
  }
  accounts.addSessions(1, usage);
  accounts.addChannels(1, usage);
  const refusal = await settle(call, request, session, user);
  if (refusal !== undefined || !connection.isOpen) {
    accounts.addSessions(-1, usage);
    accounts.addChannels(-1, usage);
    connection.dropChannel(session.id);
    if (refusal === undefined) void call.services.handles.endSession(session.id);
    return statusReply(refusal ?? Status.CONNECTION_DISCONNECTED);
  }
  setKeys(session, connection, setup, progress.sessionKey);
  const { security } = call.services.settings.config;
  session.user = user;
  session.usage = usage;
  session.isAnonymous = progress.isAnonymous;
  session.encryptData = security.encryption === 'Required' && !session.isAnonymous;
  session.signingRequired =
    !session.isAnonymous &&
    (security.signing === 'Required' || (request.securityMode & SecurityMode.SIGNING_REQUIRED) !== 0);
  session.state = 'Valid';
  const [channel] = session.channels;
  if (channel) call.enter(channel);
  // The last response is signed by the new key even where the client did not ask for signing: it proves the exchange.
  call.mustSign = !session.isAnonymous;
  connection.server.sessions.set(session.id, session);
  connection.loggedOn(usage);
  connection.log.info({ session: session.id.toString(16), user: user.name }, 'logged on');
  return success();
}

/** Ends the session that this one follows, wherever it lives, and stores this one. A status if that cannot be. */
async function settle(
  call: Call,
  request: SessionSetupRequest,
  session: Session,
  user: User,
): Promise<number | undefined> {
  const { connection, services } = call;
  const previousSessionId = request.previousSessionId;
  if (previousSessionId !== 0n && previousSessionId !== session.id) {
    const isLocal = await connection.server.endPreviousSession(previousSessionId, user);
    if (!isLocal) {
      const { outcome } = await services.handles.claimSession({ previousSessionId, user: user.sid });
      // Not there, or another user's: there is nothing to end (3.3.5.5.3).
      const isOver = outcome === Outcome.GRANTED || outcome === Outcome.NOT_FOUND || outcome === Outcome.ACCESS_DENIED;
      if (!isOver) return statusOfOutcome(outcome);
    }
  }
  const { clientGuid } = connection;
  const stored = await services.handles.storeSession({ sessionId: session.id, user: user.sid, clientGuid });
  return stored.outcome === Outcome.GRANTED ? undefined : statusOfOutcome(stored.outcome);
}

function setKeys(session: Session, connection: ConnectionHost, setup: SessionSetup, sessionKey: Buffer): void {
  const { negotiated, dialect } = connection;
  if (!negotiated) return;
  const { cipherId, signingAlgorithm } = negotiated;
  const keys = deriveSessionKeys({ dialect, sessionKey, preauthHash: setup.preauthHash, cipherId });
  session.security = { dialect, signingAlgorithm, cipherId };
  session.signer = createSigner(signingAlgorithm, keys.signingKey);
  for (const channel of session.channels) channel.signer = session.signer;
  if (cipherId !== undefined && keys.serverToClientKey && keys.clientToServerKey) {
    session.sealer = createCipher(cipherId, keys.serverToClientKey);
    session.opener = createCipher(cipherId, keys.clientToServerKey);
  }
}

/**
 * 3.3.5.5.3: the channel's key comes from its own exchange; encryption keys stay those of the session.
 * @returns the status if it cannot be added
 */
function addChannel(call: Call, session: Session, setup: SessionSetup, sessionKey: Buffer): number | undefined {
  const { connection } = call;
  const { negotiated, dialect } = connection;
  const { usage } = session;
  if (!negotiated || !usage || !connection.isOpen || session.state === 'Ended') return Status.USER_SESSION_DELETED;
  const { accounts } = connection.server;
  if (!accounts.hasRoomForChannel(usage)) return Status.INSUFFICIENT_RESOURCES;
  const { signingKey } = deriveSessionKeys({ dialect, sessionKey, preauthHash: setup.preauthHash });
  const channel: Channel = { session, connection, signer: createSigner(negotiated.signingAlgorithm, signingKey) };
  session.channels.push(channel);
  accounts.addChannels(1, usage);
  connection.channels.set(session.id, channel);
  connection.loggedOn(usage);
  call.enter(channel);
  call.mustSign = true;
  connection.log.info({ session: session.id.toString(16), channels: session.channels.length }, 'channel added');
  return undefined;
}
