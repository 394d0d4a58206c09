import { randomBytes } from 'node:crypto';
import { createParameters, type OpenOptions, openingRequest } from '../client/file/create-parameters.ts';
import type { Link } from '../client/file/link.ts';
import { isContinuouslyAvailable } from '../client/file/link.ts';
import { closeRequest, readRequest, writeRequest } from '../client/file/requests.ts';
import { Connection, type OutgoingRequest, type Response } from '../client/session/connection.ts';
import { Session } from '../client/session/session.ts';
import { Command, FileAccess } from '../smb/constants.ts';
import { Status, statusName } from '../smb/status.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../smb/wire/create.ts';
import type { FileId } from '../smb/wire/cursor.ts';
import { encodeEchoRequest } from '../smb/wire/echo.ts';
import { DATA_FILE, DATA_FILE_BYTES, FILES, fileName, type Workload } from './workloads.ts';

/** A server that has just started with a new store lets nobody log on until a lease has passed. */
const CONNECT_TIMEOUT_MS = 30_000;
const READ_RESPONSE_DATA_LENGTH_AT = 68;
/** Where encodeCloseRequest has the FileId, and where a CREATE response has it, counted from the SMB2 header. */
const CLOSE_FILE_ID_AT = 8;
const CREATE_RESPONSE_FILE_ID_AT = 128;

export interface Target {
  address: { host: string; port: number };
  user: string;
  password: string;
  share: string;
}

/** Does one request and checks its answer. */
export type Issue = () => Promise<void>;

export async function connect(target: Target): Promise<Link> {
  const signal = AbortSignal.timeout(CONNECT_TIMEOUT_MS);
  for (;;) {
    try {
      return await connectOnce(target, signal);
    } catch (error) {
      if (signal.aborted) throw error;
    }
  }
}

async function connectOnce(target: Target, signal: AbortSignal): Promise<Link> {
  const options = { clientGuid: randomBytes(16), serverName: target.address.host };
  const connection = await Connection.open(target.address, options, signal);
  const session = await Session.establish(connection, { user: target.user, password: target.password }, { signal });
  return { connection, session, tree: await session.treeConnect(target.share, signal) };
}

/** Prepares a workload on a link: the function that issues its next request. It sends at the lowest level, to cost little. */
export async function prepare(link: Link, workload: Workload): Promise<Issue> {
  switch (workload.kind) {
    case 'open-close':
      return openAndClose(link, workload);
    case 'read':
      return reads(link, workload, await openDataFile(link, workload));
    case 'write':
      return writes(link, workload, await openDataFile(link, workload));
    case 'echo':
      return async () => {
        await succeeds(link, { command: Command.ECHO, body: ECHO });
      };
  }
}

const ECHO = encodeEchoRequest();

/** Opens existing files in turn and closes them. The CREATE bodies are encoded once; only the CreateGuid changes. */
function openAndClose(link: Link, workload: Workload): Issue {
  const options: OpenOptions = { access: 'readwrite', persistent: workload.persistent, durable: workload.persistent };
  const files = workload.files ?? FILES;
  const bodies = Array.from({ length: files }, (_, i) => openingBody(link, fileName(i), options));
  const guids = bodies.map(({ guid, body }) => body.indexOf(guid));
  let next = 0;
  let serial = 0;
  const close = closeRequest({ persistent: 0n, volatile: 0n });
  return async () => {
    const index = next++ % files;
    const { body } = bodies[index] as (typeof bodies)[number];
    const guidAt = guids[index] as number;
    // The body is copied before send returns.
    if (guidAt >= 0) body.writeUInt32LE(serial++, guidAt);
    const created = await succeeds(link, { command: Command.CREATE, body, treeId: link.tree.treeId });
    created.message.copy(close, CLOSE_FILE_ID_AT, CREATE_RESPONSE_FILE_ID_AT, CREATE_RESPONSE_FILE_ID_AT + 16);
    await succeeds(link, { command: Command.CLOSE, body: close, treeId: link.tree.treeId });
  };
}

function openingBody(link: Link, path: string, options: OpenOptions): { body: Buffer; guid: Buffer } {
  const parameters = createParameters(path, options, isContinuouslyAvailable(link));
  return { body: encodeCreateRequest(openingRequest(parameters)), guid: parameters.createGuid };
}

async function openDataFile(link: Link, workload: Workload): Promise<FileId> {
  const { body } = openingBody(link, DATA_FILE, {
    access: FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE,
    persistent: workload.persistent,
    durable: workload.persistent,
  });
  const { message } = await succeeds(link, { command: Command.CREATE, body, treeId: link.tree.treeId });
  return decodeCreateResponse(message).fileId;
}

/** Small reads go to random places, large ones through the file in order. */
function offsets(bytes: number): () => number {
  const places = Math.floor(DATA_FILE_BYTES / bytes);
  if (bytes < 65_536) return () => Math.floor(Math.random() * places) * bytes;
  let next = 0;
  return () => (next++ % places) * bytes;
}

function reads(link: Link, { bytes }: Workload, fileId: FileId): Issue {
  const offset = offsets(bytes);
  const body = readRequest(fileId, 0, bytes);
  return async () => {
    body.writeUInt32LE(offset(), 8);
    const { message } = await succeeds(link, {
      command: Command.READ,
      body,
      payloadBytes: bytes,
      treeId: link.tree.treeId,
    });
    if (message.readUInt32LE(READ_RESPONSE_DATA_LENGTH_AT) !== bytes) throw new Error('a READ was answered short');
  };
}

function writes(link: Link, { bytes }: Workload, fileId: FileId): Issue {
  const offset = offsets(bytes);
  const data = randomBytes(bytes);
  const body = writeRequest(fileId, 0, bytes, 0);
  return async () => {
    body.writeUInt32LE(offset(), 8);
    await succeeds(link, {
      command: Command.WRITE,
      body,
      tail: data,
      payloadBytes: bytes,
      treeId: link.tree.treeId,
    });
  };
}

async function succeeds(link: Link, request: OutgoingRequest): Promise<Response> {
  const response = await link.connection.send(request);
  if (response.status !== Status.SUCCESS) {
    throw new Error(`command ${request.command} was answered ${statusName(response.status)}`);
  }
  return response;
}

export interface LoadResult {
  requests: number;
  seconds: number;
  /** Of the single requests, in milliseconds. */
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  /** CPU time of this process. */
  cpuUs: number;
}

/** Keeps `inFlight` requests under way for `seconds`. Each that is answered is followed by the next at once. */
export async function runLoad(issue: Issue, inFlight: number, seconds: number): Promise<LoadResult> {
  const latencies: number[] = [];
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  const slot = async () => {
    for (let nowMs = performance.now(); nowMs < endMs; ) {
      const sentMs = nowMs;
      await issue();
      nowMs = performance.now();
      latencies.push(nowMs - sentMs);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, slot));
  const elapsedMs = performance.now() - startMs;
  const cpu = process.cpuUsage(cpuBefore);
  const sorted = Float64Array.from(latencies).sort();
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  return {
    requests: latencies.length,
    seconds: elapsedMs / 1000,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    maxMs: at(1),
    cpuUs: cpu.user + cpu.system,
  };
}
