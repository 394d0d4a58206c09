import { Break, FileState } from '../../proto/generated/handles.ts';

/** What peers leave in Redis for a server that their calls do not reach: one byte of kind, then the message. */
export type InboxMessage = { kind: 'break'; message: Break } | { kind: 'state'; message: FileState };

const BREAK = 1;
const STATE = 2;

export const Inbox = {
  encodeBreak: (message: Break): Uint8Array => Buffer.concat([Buffer.of(BREAK), Break.encode(message).finish()]),
  encodeState: (message: FileState): Uint8Array =>
    Buffer.concat([Buffer.of(STATE), FileState.encode(message).finish()]),

  /** undefined: a kind that this version does not know. */
  decode(bytes: Uint8Array): InboxMessage | undefined {
    if (bytes[0] === BREAK) return { kind: 'break', message: Break.decode(bytes.subarray(1)) };
    if (bytes[0] === STATE) return { kind: 'state', message: FileState.decode(bytes.subarray(1)) };
    return undefined;
  },
};
