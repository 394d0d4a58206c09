import { describe, expect, test } from '@jest/globals';
import { Command, Fsctl } from '../../smb/constants.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { decodeHeader, encodeMessage } from '../../smb/wire/header.ts';
import { encodeIoctlRequest } from '../../smb/wire/ioctl.ts';
import { encodeQueryDirectoryRequest } from '../../smb/wire/query-directory.ts';
import { weightOf } from './weight.ts';

const MIB = 1024 * 1024;
const fileId = { persistent: 1n, volatile: 1n };

describe('what a request counts for', () => {
  const weightOfRequest = (command: number, body: Buffer, creditCharge = 1) => {
    const message = encodeMessage({ command, messageId: 1, creditCharge }, body);
    return weightOf(decodeHeader(message), message) - message.length;
  };
  const listing = (outputBufferLength: number) =>
    encodeQueryDirectoryRequest({
      fileInformationClass: 37,
      flags: 0,
      fileIndex: 0,
      fileId,
      fileName: '*',
      outputBufferLength,
    });
  const control = (ctlCode: number) =>
    encodeIoctlRequest({
      ...{ ctlCode, fileId, input: Buffer.alloc(24), output: Buffer.alloc(0) },
      ...{ maxInputResponse: 0, maxOutputResponse: 12, flags: 1 },
    });

  test('is what it brought', () => {
    expect(weightOfRequest(Command.ECHO, encodeEchoRequest())).toBe(0);
    expect(weightOfRequest(Command.IOCTL, control(Fsctl.SET_SPARSE))).toBe(0);
  });

  test('and what is read for it, of a listing as of a READ', () => {
    expect(weightOfRequest(Command.QUERY_DIRECTORY, listing(65_536))).toBe(65_536 + 128 * 1024);
    expect(weightOfRequest(Command.QUERY_DIRECTORY, listing(8 * MIB))).toBe(MIB + 128 * 1024);
    const message = encodeMessage({ command: Command.READ, messageId: 1, creditCharge: 16 }, Buffer.alloc(49));
    expect(weightOf(decodeHeader(message), message)).toBe(MIB);
  });

  test('and a chunk, of what copies by way of memory at worst', () => {
    for (const code of [Fsctl.SRV_COPYCHUNK, Fsctl.SRV_COPYCHUNK_WRITE, Fsctl.SET_ZERO_DATA]) {
      expect(weightOfRequest(Command.IOCTL, control(code))).toBe(MIB);
    }
  });

  test('is told of a request that is cut off, too', () => {
    for (const command of [Command.QUERY_DIRECTORY, Command.IOCTL]) {
      expect(weightOfRequest(command, Buffer.alloc(2))).toBeGreaterThanOrEqual(0);
    }
  });
});
