// OPLOCK_BREAK (MS-SMB2 2.2.23 - 2.2.25): notifications of the server, acknowledgements of the client and responses to
// those, each for oplocks and for leases. StructureSize tells them apart; an oplock notification and the response to
// an oplock acknowledgement look alike, only the notification has UNSOLICITED_MESSAGE_ID.
import { openBody } from './body.ts';
import { type FileId, WireWriter } from './cursor.ts';
import { WireError } from './errors.ts';
import { HEADER_SIZE } from './header.ts';

/** Notification, acknowledgement and response for an oplock all have this form. */
export interface OplockBreak {
  kind: 'oplock';
  /** OplockLevel.* */
  oplockLevel: number;
  fileId: FileId;
}

/** Lease Break Notification (2.2.23.2). */
export interface LeaseBreakNotification {
  kind: 'lease-break';
  /** The new epoch of a version 2 lease, else 0. */
  newEpoch: number;
  /** LeaseBreakFlags.* */
  flags: number;
  leaseKey: Buffer;
  /** LeaseState.* */
  currentLeaseState: number;
  newLeaseState: number;
}

/** Lease Break Acknowledgment (2.2.24.2) and Lease Break Response (2.2.25.2). */
export interface LeaseBreakAck {
  kind: 'lease';
  leaseKey: Buffer;
  /** LeaseState.* */
  leaseState: number;
}

/** What a client sends. */
export type OplockBreakRequest = OplockBreak | LeaseBreakAck;
/** What a server sends. */
export type OplockBreakResponse = OplockBreak | LeaseBreakNotification | LeaseBreakAck;

const OPLOCK_SIZE = 24;
const LEASE_SIZE = 36;
const LEASE_NOTIFICATION_SIZE = 44;

export function decodeOplockBreakRequest(message: Buffer): OplockBreakRequest {
  return structureSizeOf(message) === LEASE_SIZE ? decodeLeaseAck(message) : decodeOplock(message);
}

export function decodeOplockBreakResponse(message: Buffer): OplockBreakResponse {
  switch (structureSizeOf(message)) {
    case LEASE_SIZE:
      return decodeLeaseAck(message);
    case LEASE_NOTIFICATION_SIZE:
      return decodeLeaseNotification(message);
    default:
      return decodeOplock(message);
  }
}

function structureSizeOf(message: Buffer): number {
  if (message.length < HEADER_SIZE + 2) throw new WireError('OPLOCK_BREAK: has no body');
  return message.readUInt16LE(HEADER_SIZE);
}

function decodeOplock(message: Buffer): OplockBreak {
  const reader = openBody(message, OPLOCK_SIZE, 'OPLOCK_BREAK');
  const oplockLevel = reader.u8();
  reader.skip(5);
  return { kind: 'oplock', oplockLevel, fileId: reader.fileId() };
}

function decodeLeaseAck(message: Buffer): LeaseBreakAck {
  const reader = openBody(message, LEASE_SIZE, 'lease break acknowledgement');
  reader.skip(6);
  return { kind: 'lease', leaseKey: reader.guid(), leaseState: reader.u32() };
}

function decodeLeaseNotification(message: Buffer): LeaseBreakNotification {
  const reader = openBody(message, LEASE_NOTIFICATION_SIZE, 'lease break notification');
  return {
    kind: 'lease-break',
    newEpoch: reader.u16(),
    flags: reader.u32(),
    leaseKey: reader.guid(),
    currentLeaseState: reader.u32(),
    newLeaseState: reader.u32(),
  };
}

export function encodeOplockBreakRequest(request: OplockBreakRequest): Buffer {
  return encodeOplockBreakResponse(request);
}

export function encodeOplockBreakResponse(response: OplockBreakResponse): Buffer {
  const writer = new WireWriter(LEASE_NOTIFICATION_SIZE);
  switch (response.kind) {
    case 'oplock':
      return writer.u16(OPLOCK_SIZE).u8(response.oplockLevel).zeros(5).fileId(response.fileId).finish();
    case 'lease':
      return writer.u16(LEASE_SIZE).zeros(6).guid(response.leaseKey).u32(response.leaseState).zeros(8).finish();
    case 'lease-break':
      writer.u16(LEASE_NOTIFICATION_SIZE).u16(response.newEpoch).u32(response.flags).guid(response.leaseKey);
      writer.u32(response.currentLeaseState).u32(response.newLeaseState);
      return writer.zeros(12).finish(); // BreakReason and the hints: servers send 0.
  }
}
