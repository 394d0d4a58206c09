import { expect, test } from '@jest/globals';
import { ALL_ONES_FILE_ID, Command, Dialect, Fsctl, IoctlFlags } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeMessage } from '../../smb/wire/header.ts';
import { decodeIoctlRequest, encodeIoctlResponse } from '../../smb/wire/ioctl.ts';
import {
  decodeValidateNegotiateInfoRequest,
  encodeValidateNegotiateInfoResponse,
} from '../../smb/wire/ioctl-payloads.ts';
import { encodeNegotiateRequest } from '../../smb/wire/negotiate.ts';
import type { Connection } from './connection.ts';
import { validateNegotiation } from './validate-negotiation.ts';

const offered = {
  securityMode: 1,
  capabilities: 0x7f,
  clientGuid: Buffer.alloc(16, 7),
  dialects: [Dialect.SMB_3_0, Dialect.SMB_3_0_2],
  negotiateContexts: [],
};
const agreed = { dialect: Dialect.SMB_3_0_2, capabilities: 0x2f, securityMode: 3, serverGuid: Buffer.alloc(16, 9) };

/** A connection on which that was agreed, to a server that says `told` of it; what it is asked is kept. */
function connectionTo(told: Partial<typeof agreed>, dialect: number = agreed.dialect) {
  const asked: Buffer[] = [];
  const negotiation = encodeNegotiateRequest(offered);
  const connection = {
    negotiated: { ...agreed, dialect },
    negotiateExchange: {
      request: encodeMessage({ command: Command.NEGOTIATE, messageId: 0 }, negotiation),
      response: Buffer.alloc(0),
    },
    address: { host: 'server', port: 445 },
    send: async ({ body }: { body: Buffer }) => {
      asked.push(encodeMessage({ command: Command.IOCTL, messageId: 1 }, body));
      const output = encodeValidateNegotiateInfoResponse({ ...agreed, ...told });
      const answer = encodeIoctlResponse({
        ctlCode: Fsctl.VALIDATE_NEGOTIATE_INFO,
        fileId: ALL_ONES_FILE_ID,
        input: Buffer.alloc(0),
        output,
        flags: IoctlFlags.IS_FSCTL,
      });
      return { status: Status.SUCCESS, message: encodeMessage({ command: Command.IOCTL, messageId: 1 }, answer) };
    },
  } as unknown as Connection;
  return { connection, asked };
}
const { signal } = new AbortController();

test('tells the server what was offered, and takes the same answer', async () => {
  const { connection, asked } = connectionTo({});
  await validateNegotiation(connection, 1, signal);
  const [request] = asked.map((message) => decodeIoctlRequest(message));
  expect(request?.ctlCode).toBe(Fsctl.VALIDATE_NEGOTIATE_INFO);
  const { securityMode, capabilities, clientGuid, dialects } = offered;
  expect(decodeValidateNegotiateInfoRequest(request?.input ?? Buffer.alloc(0))).toMatchObject({
    ...{ securityMode, capabilities, clientGuid, dialects },
  });
});

test.each([
  ['dialect', { dialect: Dialect.SMB_3_0 }],
  ['capabilities', { capabilities: 0x7f }],
  ['security mode', { securityMode: 1 }],
  ['server', { serverGuid: Buffer.alloc(16, 8) }],
] as const)('another %s than was agreed on is a man in the middle', async (_what, told) => {
  await expect(validateNegotiation(connectionTo(told as never).connection, 1, signal)).rejects.toThrow(
    'somebody changed what was negotiated',
  );
});

test('3.1.1 needs none', async () => {
  const { connection, asked } = connectionTo({}, Dialect.SMB_3_1_1);
  await validateNegotiation(connection, 1, signal);
  expect(asked).toEqual([]);
});
