import { Command, Fsctl } from '../../smb/constants.ts';
import { CREDIT_SIZE, HEADER_SIZE, type Header } from '../../smb/wire/header.ts';

/** Names that a listing reads at once, bytes (volume/directory-scan.ts), and the most that it answers at once. */
const NAMES_READ_AT_ONCE = 128 * 1024;
const LONGEST_LISTING = 1024 * 1024;
/** What a copy or a range of zeros may go through where the kernel does neither, bytes. */
const COPIED_AT_ONCE = 1024 * 1024;

const COPIES = new Set<number>([Fsctl.SRV_COPYCHUNK, Fsctl.SRV_COPYCHUNK_WRITE, Fsctl.SET_ZERO_DATA]);

/** Where the fields lie that say how much a request will take (MS-SMB2 2.2.31, 2.2.33). */
const CTL_CODE_AT = HEADER_SIZE + 4;
const LISTING_SIZE_AT = HEADER_SIZE + 28;

/** Bytes of memory that a request takes at most until it is answered: what it brought, and what is made for it. */
export function weightOf(header: Header, message: Buffer): number {
  switch (header.command) {
    case Command.READ:
      return Math.max(1, header.creditCharge) * CREDIT_SIZE;
    case Command.QUERY_DIRECTORY:
      return message.length + NAMES_READ_AT_ONCE + Math.min(fieldAt(message, LISTING_SIZE_AT), LONGEST_LISTING);
    case Command.IOCTL:
      return message.length + (COPIES.has(fieldAt(message, CTL_CODE_AT)) ? COPIED_AT_ONCE : 0);
    default:
      return message.length;
  }
}

function fieldAt(message: Buffer, at: number): number {
  return message.length < at + 4 ? 0 : message.readUInt32LE(at);
}
