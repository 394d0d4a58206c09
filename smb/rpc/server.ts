import { WireError } from '../wire/errors.ts';
import {
  type Bind,
  ContextOutcome,
  type ContextResult,
  decodeBind,
  decodeHeader,
  encodeBindAck,
  encodeBindNak,
  encodeFault,
  encodeFragments,
  encodePdu,
  FaultStatus,
  headerSize,
  isFeatureNegotiation,
  maximumFragmentSize,
  minimumFragmentSize,
  noSyntax,
  type OfferedContext,
  PduFlag,
  type PduHeader,
  PduType,
  RejectionReason,
  requestHeadSize,
  type SyntaxId,
  sameSyntax,
  syntax,
} from './pdu.ts';
import { interfaces, type RpcInterface, type RpcServerOptions } from './services.ts';

export type { RpcAccounts } from './lsa.ts';
export { type RpcServerOptions, type RpcShare, ShareType } from './services.ts';

/** Bytes that a request's stub may have over all its fragments: requests here carry little but names. */
const maximumStubSize = 64 * 1024;
/** Presentation contexts a pipe instance keeps. */
const maximumContexts = 16;

/** A request of which not all fragments are here. */
interface Call {
  callId: number;
  contextId: number;
  operation: number;
  stub: Buffer[];
  stubSize: number;
}

/** One instance of the srvsvc, wkssvc or lsarpc pipe: DCE/RPC version 5, connection-oriented (MS-RPCE). One object an open pipe. */
export class RpcServer {
  readonly #options: RpcServerOptions;
  readonly #contexts = new Map<number, RpcInterface>();
  #pending: Buffer = Buffer.alloc(0);
  #call: Call | undefined;
  #fragmentSize = minimumFragmentSize;

  constructor(options: RpcServerOptions) {
    this.#options = options;
  }

  /**
   * Takes what the client wrote to the pipe and gives the PDUs to be read from it, each at most the negotiated fragment size;
   * none while a PDU or a request is not complete. Never throws on bad input: it answers fault or bind_nak; after a message
   * that cannot be framed the answer is a fault and what was pending is dropped.
   */
  handle(pdu: Buffer): Buffer[] {
    let input = this.#pending.length === 0 ? pdu : Buffer.concat([this.#pending, pdu]);
    const answers: Buffer[] = [];
    try {
      while (input.length >= headerSize) {
        const header = decodeHeader(input);
        if (input.length < header.fragmentLength) break;
        answers.push(...this.#pdu(header, input.subarray(headerSize, header.fragmentLength)));
        input = input.subarray(header.fragmentLength);
      }
      // The caller's buffer may be used again: what stays is a copy, smaller than one fragment.
      this.#pending = Buffer.from(input);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#pending = Buffer.alloc(0);
      this.#call = undefined;
      answers.push(encodeFault(0, 0, FaultStatus.protocolError));
    }
    return answers;
  }

  #pdu(header: PduHeader, body: Buffer): Buffer[] {
    switch (header.type) {
      case PduType.bind:
      case PduType.alterContext:
        return [this.#bind(header, body)];
      case PduType.request:
        return this.#request(header, body);
      default:
        // Cancels, orphans and the third leg of an authentication have no answer.
        return [];
    }
  }

  #bind(header: PduHeader, body: Buffer): Buffer {
    // Security of the pipe is the SMB session's; authentication within RPC is not offered (reason 8).
    if (header.authLength !== 0) return encodeBindNak(header.callId, 8);
    const bind = decodeBind(body);
    const isBind = header.type === PduType.bind;
    if (isBind) {
      this.#contexts.clear();
      this.#fragmentSize = Math.max(minimumFragmentSize, Math.min(bind.maxReceiveFragment, maximumFragmentSize));
    }
    const accepted = {
      maxTransmitFragment: this.#fragmentSize,
      maxReceiveFragment: maximumFragmentSize,
      associationGroup: bind.associationGroup || 0x53f0,
    };
    const answer = encodeBindAck(accepted, isBind ? this.#pipeName(bind) : '', this.#results(bind));
    return encodePdu(isBind ? PduType.bindAck : PduType.alterContextResponse, header.callId, answer);
  }

  #results(bind: Bind): ContextResult[] {
    return bind.contexts.map((context) => this.#offer(context));
  }

  #offer({ id, abstractSyntax, transferSyntaxes }: OfferedContext): ContextResult {
    const [first] = transferSyntaxes;
    if (first !== undefined && isFeatureNegotiation(first)) {
      return { result: ContextOutcome.negotiateAck, reason: 0, transferSyntax: noSyntax };
    }
    const rejected = (reason: number): ContextResult => ({
      result: ContextOutcome.providerRejection,
      reason,
      transferSyntax: noSyntax,
    });
    const found = interfaces.find((candidate) => sameSyntax(candidate.syntax, abstractSyntax));
    if (found === undefined || this.#contexts.size >= maximumContexts) return rejected(RejectionReason.abstractSyntax);
    if (!transferSyntaxes.some((offered) => sameSyntax(offered, syntax.ndr20))) {
      return rejected(RejectionReason.transferSyntaxes);
    }
    this.#contexts.set(id, found);
    return { result: ContextOutcome.acceptance, reason: 0, transferSyntax: syntax.ndr20 };
  }

  #pipeName(bind: Bind): string {
    const isFor = (wanted: SyntaxId) => bind.contexts.some(({ abstractSyntax }) => sameSyntax(abstractSyntax, wanted));
    if (isFor(syntax.lsarpc)) return '\\PIPE\\lsass';
    return isFor(syntax.wkssvc) ? '\\PIPE\\wkssvc' : '\\PIPE\\srvsvc';
  }

  #request(header: PduHeader, body: Buffer): Buffer[] {
    const objectSize = header.flags & PduFlag.objectUuid ? 16 : 0;
    const headSize = requestHeadSize - headerSize + objectSize;
    if (header.authLength !== 0 || body.length < headSize) throw new WireError('RPC request is cut off');
    const call = this.#fragment(header, body, body.subarray(headSize));
    if ((header.flags & PduFlag.lastFragment) === 0) return [];
    this.#call = undefined;
    return this.#answer(call);
  }

  /** Adds a fragment to its request. */
  #fragment(header: PduHeader, body: Buffer, stub: Buffer): Call {
    if (header.flags & PduFlag.firstFragment) {
      const [contextId, operation] = [body.readUInt16LE(4), body.readUInt16LE(6)];
      this.#call = { callId: header.callId, contextId, operation, stub: [], stubSize: 0 };
    }
    const call = this.#call;
    if (call === undefined || call.callId !== header.callId) throw new WireError('RPC fragment without its first');
    call.stubSize += stub.length;
    if (call.stubSize > maximumStubSize) throw new WireError('RPC request is too large');
    call.stub.push(Buffer.from(stub));
    return call;
  }

  #answer(call: Call): Buffer[] {
    const fault = (status: number): Buffer[] => [encodeFault(call.callId, call.contextId, status)];
    const bound = this.#contexts.get(call.contextId);
    if (bound === undefined) return fault(FaultStatus.unknownInterface);
    const operation = bound.operations.get(call.operation);
    if (operation === undefined) return fault(FaultStatus.operationRange);
    try {
      const stub = operation(this.#options, Buffer.concat(call.stub));
      return encodeFragments(PduType.response, call, stub, this.#fragmentSize);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      return fault(FaultStatus.badStubData);
    }
  }
}
