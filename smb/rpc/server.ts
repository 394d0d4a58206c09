/** What a pipe instance answers about: the shares and the server's name. */
export interface RpcShare {
  name: string;
  /** STYPE_* of MS-SRVS 2.2.2.4: 0 disk, 3 IPC, | 0x80000000 for administrative shares. */
  type: number;
  comment: string;
}

export interface RpcServerOptions {
  shares: () => readonly RpcShare[];
  serverName: string;
}

/** One instance of the srvsvc or wkssvc pipe: DCE/RPC version 5, connection-oriented (MS-RPCE). One object an open pipe. */
export class RpcServer {
  constructor(_options: RpcServerOptions) {}
  /**
   * Takes what the client wrote to the pipe and gives the PDUs to be read from it, each at most the negotiated fragment size.
   * Never throws on bad input: it answers fault or bind_nak; after an unframeable message the answer is a fault and the state is reset.
   */
  handle(_pdu: Buffer): Buffer[] {
    throw new Error('being written');
  }
}
