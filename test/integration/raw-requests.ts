import type { Client, Response } from '../../client/index.ts';
import { SmbError } from '../../client/index.ts';
import {
  Command,
  CreateDisposition,
  FileAccess,
  ImpersonationLevel,
  IoctlFlags,
  OplockLevel,
  ShareAccess,
} from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeCloseRequest } from '../../smb/wire/close.ts';
import { decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { encodeFlushRequest } from '../../smb/wire/flush.ts';
import { decodeIoctlResponse, encodeIoctlRequest } from '../../smb/wire/ioctl.ts';
import { decodeQueryInfoResponse, encodeQueryInfoRequest } from '../../smb/wire/query-info.ts';
import { decodeReadResponse, encodeReadRequest } from '../../smb/wire/read.ts';
import { encodeSetInfoRequest } from '../../smb/wire/set-info.ts';
import { encodeWriteRequest } from '../../smb/wire/write.ts';

/** What one request may carry or ask for, bytes. */
const PAYLOAD_BYTES = 65_536;

/** Sends any request on a client's session and share. */
export function send(client: Client, command: number, body: Buffer, signal?: AbortSignal): Promise<Response> {
  const { link } = client;
  if (!link) throw new Error('no connection');
  const request = { command, body, treeId: link.tree.treeId, payloadBytes: PAYLOAD_BYTES };
  return link.session.send(signal ? { ...request, signal } : request);
}

export interface RawOpenOptions {
  access?: number;
  disposition?: number;
  createOptions?: number;
}

/** An open that is used by requests put together by hand. */
export class RawOpen {
  readonly client: Client;
  readonly fileId: FileId;

  private constructor(client: Client, fileId: FileId) {
    this.client = client;
    this.fileId = fileId;
  }

  /** Throws SmbError. `name` has backslashes. */
  static async open(client: Client, name: string, options: RawOpenOptions = {}): Promise<RawOpen> {
    const body = encodeCreateRequest({
      requestedOplockLevel: OplockLevel.NONE,
      impersonationLevel: ImpersonationLevel.IMPERSONATION,
      desiredAccess: options.access ?? FileAccess.FILE_GENERIC_READ,
      fileAttributes: 0,
      shareAccess: ShareAccess.READ | ShareAccess.WRITE | ShareAccess.DELETE,
      createDisposition: options.disposition ?? CreateDisposition.OPEN,
      createOptions: options.createOptions ?? 0,
      name,
      createContexts: [],
    });
    const { status, message } = await send(client, Command.CREATE, body);
    if (status !== Status.SUCCESS) throw SmbError.fromStatus(status, `opening ${name}`);
    return new RawOpen(client, decodeCreateResponse(message).fileId);
  }

  /** IOCTL with an FSCTL; the output is empty where the answer is an error. */
  async ioctl(ctlCode: number, input: Buffer, most = 4096): Promise<{ status: number; output: Buffer }> {
    const body = encodeIoctlRequest({
      ctlCode,
      fileId: this.fileId,
      input,
      maxInputResponse: 0,
      maxOutputResponse: most,
      flags: IoctlFlags.IS_FSCTL,
      output: Buffer.alloc(0),
    });
    const { status, message } = await send(this.client, Command.IOCTL, body);
    // An error without more to say has 9 bytes of body (MS-SMB2 2.2.2).
    const isAnswer = message.readUInt16LE(64) === 49;
    return { status, output: isAnswer ? decodeIoctlResponse(message).output : Buffer.alloc(0) };
  }

  /** The answer of QUERY_INFO. Throws SmbError. @param infoType InfoType.* */
  async query(infoType: number, fileInfoClass: number): Promise<Buffer> {
    const body = encodeQueryInfoRequest({
      ...{ infoType, fileInfoClass, outputBufferLength: 4096, additionalInformation: 0, flags: 0 },
      ...{ fileId: this.fileId, input: Buffer.alloc(0) },
    });
    const { status, message } = await send(this.client, Command.QUERY_INFO, body);
    if (status !== Status.SUCCESS) throw SmbError.fromStatus(status, `asking for class ${fileInfoClass}`);
    return decodeQueryInfoResponse(message).output;
  }

  /** SET_INFO. @param infoType InfoType.* */
  async set(infoType: number, fileInfoClass: number, input: Buffer, additionalInformation = 0): Promise<number> {
    const body = encodeSetInfoRequest({ infoType, fileInfoClass, additionalInformation, fileId: this.fileId, input });
    return (await send(this.client, Command.SET_INFO, body)).status;
  }

  /** @param flags WriteFlags.* */
  async write(offset: number, data: Buffer, flags = 0): Promise<number> {
    const request = { data, offset, fileId: this.fileId, channel: 0, remainingBytes: 0, flags };
    const body = encodeWriteRequest({ ...request, channelInfo: Buffer.alloc(0) });
    return (await send(this.client, Command.WRITE, body)).status;
  }

  async read(offset: number, length: number, minimumCount = 0): Promise<{ status: number; data: Buffer }> {
    const request = { length, offset, fileId: this.fileId, minimumCount, channel: 0, remainingBytes: 0, flags: 0 };
    const body = encodeReadRequest({ ...request, channelInfo: Buffer.alloc(0) });
    const { status, message } = await send(this.client, Command.READ, body);
    return { status, data: status === Status.SUCCESS ? decodeReadResponse(message).data : Buffer.alloc(0) };
  }

  async flush(): Promise<number> {
    return (await send(this.client, Command.FLUSH, encodeFlushRequest({ fileId: this.fileId }))).status;
  }

  async close(): Promise<number> {
    return (await send(this.client, Command.CLOSE, encodeCloseRequest({ flags: 0, fileId: this.fileId }))).status;
  }
}
