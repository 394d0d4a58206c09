// The client library: what programs (and the benchmarks) import.
export { addressText, parseAddress, parseAddresses, type ServerAddress } from './connect/address.ts';
export { isConnectionLoss, SmbError } from './errors.ts';
export { Client, type ClientOptions, type ListEntry } from './file/client.ts';
export type { Access, Disposition, Durability, OpenOptions } from './file/create-parameters.ts';
export type { FailoverEvents } from './file/failover.ts';
export { File, type LockOptions, type OperationOptions } from './file/file.ts';
export type { FileStat } from './file/file-stat.ts';
export type { ShareInfo } from './file/shares.ts';
export { Connection, type OutgoingRequest, type Response } from './session/connection.ts';
export { DEFAULT_OFFER, type NegotiateOffer } from './session/negotiate.ts';
export { Session } from './session/session.ts';
