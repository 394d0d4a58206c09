import type { RpcShare } from './server.ts';

/** Bind request for srvsvc: the first message on the pipe. */
export function srvsvcBind(): Buffer {
  throw new Error('being written');
}

/** Checks the server's answer to srvsvcBind. Throws WireError when it is not an acceptance. */
export function expectBindAck(_pdu: Buffer): void {
  throw new Error('being written');
}

/** NetrShareEnum request, level 1 (MS-SRVS 3.1.4.8). `server` is the UNC server name, e.g. `\\\\host`. */
export function netrShareEnumRequest(_server: string): Buffer {
  throw new Error('being written');
}

/** Decodes the answer, all of its fragments one after the other in `pdus`. Throws WireError (also on fault or error status). */
export function netrShareEnumResponse(_pdus: Buffer): RpcShare[] {
  throw new Error('being written');
}

/** True when `pdus` ends with the last fragment of an answer; false: read on. Throws WireError on garbage. */
export function responseIsComplete(_pdus: Buffer): boolean {
  throw new Error('being written');
}
