import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WireError } from '../wire/errors.ts';
import {
  expectBindAck,
  netrShareEnumRequest,
  netrShareEnumResponse,
  responseIsComplete,
  srvsvcBind,
} from './client.ts';
import { NdrReader, NdrWriter } from './ndr.ts';
import {
  decodeBindAck,
  decodeHeader,
  encodeBind,
  encodeFragments,
  encodePdu,
  FaultStatus,
  headerSize,
  type OfferedContext,
  PduFlag,
  PduType,
  syntax,
} from './pdu.ts';
import { RpcServer, type RpcShare, ShareType } from './server.ts';

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex');
const shares: RpcShare[] = [
  { name: 'data', type: ShareType.disk, comment: 'Größe' },
  { name: 'IPC$', type: ShareType.ipc | ShareType.special, comment: '' },
].map((share) => ({ ...share, type: share.type >>> 0 }));
const accounts = { domainName: '', domainSid: 'S-1-5-21-1-2-3', byName: () => undefined, bySid: () => undefined };
const server = (list = shares): RpcServer => new RpcServer({ shares: () => list, accounts, serverName: 'HOLDFAST' });

const bind = (contexts: OfferedContext[], maxReceiveFragment = 4280): Buffer =>
  encodePdu(
    PduType.bind,
    1,
    encodeBind({ maxTransmitFragment: 4280, maxReceiveFragment, associationGroup: 0, contexts }),
  );
const ndr20 = [syntax.ndr20];
const ndr64 = { uuid: hex('33057171babe37498319b5dbef9ccc36'), version: 1 };
const features = { uuid: hex('2c1cb76c129840450300000000000000'), version: 1 };

const one = (pdus: Buffer[]): Buffer => {
  const [pdu] = pdus;
  if (pdu === undefined || pdus.length !== 1) throw new Error(`one PDU expected, got ${pdus.length}`);
  return pdu;
};
const request = (operation: number, stub: Buffer, contextId = 0): Buffer =>
  Buffer.concat(encodeFragments(PduType.request, { callId: 5, contextId, operation }, stub, 4280));
const faultStatus = (pdu: Buffer): number => {
  expect(decodeHeader(pdu).type).toBe(PduType.fault);
  return pdu.readUInt32LE(24);
};

function bound(list = shares, interfaceSyntax = syntax.srvsvc as OfferedContext['abstractSyntax']): RpcServer {
  const rpc = server(list);
  rpc.handle(bind([{ id: 0, abstractSyntax: interfaceSyntax, transferSyntaxes: ndr20 }], 1432));
  return rpc;
}

/** Calls an operation and gives the stub of its answer. */
const call = (rpc: RpcServer, operation: number, stub: NdrWriter): NdrReader =>
  new NdrReader(one(rpc.handle(request(operation, stub.bytes()))).subarray(24));

describe('binding', () => {
  test('offers of NDR64 and feature negotiation, as Windows makes them, are answered one by one', () => {
    const offer = [
      { id: 0, abstractSyntax: syntax.srvsvc, transferSyntaxes: ndr20 },
      { id: 1, abstractSyntax: syntax.srvsvc, transferSyntaxes: [ndr64] },
      { id: 2, abstractSyntax: syntax.srvsvc, transferSyntaxes: [features] },
    ];

    const ack = one(server().handle(bind(offer)));

    expect(decodeHeader(ack)).toMatchObject({ type: PduType.bindAck, callId: 1, fragmentLength: ack.length });
    expect(decodeBindAck(ack.subarray(headerSize)).results).toMatchObject([
      { result: 0, reason: 0, transferSyntax: syntax.ndr20 },
      { result: 2, reason: 2 },
      { result: 3, reason: 0 },
    ]);
  });

  test('an interface that is not served is refused', () => {
    const unknown = { uuid: Buffer.alloc(16, 9), version: 1 };
    const ack = one(server().handle(bind([{ id: 0, abstractSyntax: unknown, transferSyntaxes: ndr20 }])));
    expect(decodeBindAck(ack.subarray(headerSize)).results).toMatchObject([{ result: 2, reason: 1 }]);
  });

  test('a bind with RPC authentication gets bind_nak', () => {
    const pdu = srvsvcBind();
    pdu.writeUInt16LE(16, 10);
    expect(decodeHeader(one(server().handle(pdu))).type).toBe(PduType.bindNak);
  });
});

describe('NetrShareEnum', () => {
  test('between our client and our server', () => {
    const rpc = server();
    expectBindAck(one(rpc.handle(srvsvcBind())));
    const answer = Buffer.concat(rpc.handle(netrShareEnumRequest('\\\\server')));
    expect(netrShareEnumResponse(answer)).toEqual(shares);
  });

  test('the stub is laid out as MS-SRVS has it', () => {
    const rpc = bound([{ name: 'a', type: 0, comment: '' }]);
    const answer = one(rpc.handle(netrShareEnumRequest('s')));
    expect(answer.subarray(24)).toEqual(
      hex(`01000000 01000000 04000200 01000000 08000200 01000000 0c000200 00000000 10000200
           02000000 00000000 02000000 6100 0000  01000000 00000000 01000000 0000 0000
           01000000 14000200 00000000 00000000`),
    );
  });

  test('of many shares comes in fragments of the size that the client takes', () => {
    const many = Array.from({ length: 200 }, (_, i) => ({ name: `share ${i}`, type: 0, comment: 'x'.repeat(20) }));
    const pdus = bound(many).handle(netrShareEnumRequest('s'));

    expect(pdus.length).toBeGreaterThan(10);
    expect(Math.max(...pdus.map((pdu) => pdu.length))).toBeLessThanOrEqual(1432);
    expect(responseIsComplete(Buffer.concat(pdus.slice(0, -1)))).toBe(false);
    expect(responseIsComplete(Buffer.concat(pdus))).toBe(true);
    expect(netrShareEnumResponse(Buffer.concat(pdus))).toEqual(many);
  });

  test.each([
    [2, 5],
    [502, 5],
    [500, 124],
    [7, 124],
  ])('level %d is refused with error %d', (level, error) => {
    const stub = new NdrWriter().null().u32(level).u32(level).pointer().u32(0).null().u32(0xffffffff).null();
    const answer = one(bound().handle(request(15, stub.bytes())));
    expect(answer.readUInt32LE(answer.length - 4)).toBe(error);
  });
});

describe('other operations', () => {
  const shareInfo = (name: string, level: number): NdrReader =>
    call(bound(), 16, new NdrWriter().pointer().string('\\\\s').string(name).u32(level));

  test('NetrShareGetInfo finds a share without regard to case', () => {
    const info = shareInfo('DATA', 1);
    expect([info.u32(), info.u32() !== 0, info.u32() !== 0, info.u32(), info.u32() !== 0]).toEqual([
      1,
      true,
      true,
      0,
      true,
    ]);
    expect([info.string(), info.string(), info.u32()]).toEqual(['data', 'Größe', 0]);
  });

  test('NetrShareGetInfo of a share that is not there', () => {
    const info = shareInfo('nothing', 1);
    expect([info.u32(), info.u32(), info.u32()]).toEqual([1, 0, 2310]);
  });

  test('NetrServerGetInfo and NetrWkstaGetInfo tell the name', () => {
    const info = call(bound(), 21, new NdrWriter().null().u32(100));
    expect([info.u32(), info.u32() !== 0, info.u32(), info.u32() !== 0, info.string()]).toEqual([
      100,
      true,
      500,
      true,
      'HOLDFAST',
    ]);

    const wksta = call(bound(shares, syntax.wkssvc), 0, new NdrWriter().null().u32(100));
    for (let i = 0; i < 7; i++) wksta.u32();
    expect([wksta.string(), wksta.string(), wksta.u32()]).toEqual(['HOLDFAST', 'WORKGROUP', 0]);
  });

  test('NetrWkstaGetInfo tells at level 101 also where the software is: nowhere', () => {
    const wksta = call(bound(shares, syntax.wkssvc), 0, new NdrWriter().null().u32(101));
    for (let i = 0; i < 8; i++) wksta.u32();
    expect([wksta.string(), wksta.string(), wksta.string(), wksta.u32()]).toEqual(['HOLDFAST', 'WORKGROUP', '', 0]);
  });
});

describe('what is wrong gets a fault', () => {
  test('a request before the bind, an operation that is not there, a stub that is cut off', () => {
    expect(faultStatus(one(server().handle(netrShareEnumRequest('s'))))).toBe(FaultStatus.unknownInterface);
    expect(faultStatus(one(bound().handle(request(99, Buffer.alloc(0)))))).toBe(FaultStatus.operationRange);
    expect(faultStatus(one(bound().handle(request(15, Buffer.alloc(6)))))).toBe(FaultStatus.badStubData);
  });

  test('a string that is longer than the stub', () => {
    const stub = new NdrWriter().pointer().u32(100).u32(0).u32(100).bytes();
    expect(() => new NdrReader(stub).uniqueString()).toThrow(WireError);
    expect(faultStatus(one(bound().handle(request(16, stub))))).toBe(FaultStatus.badStubData);
  });

  test('a request without end', () => {
    const rpc = bound();
    const [first] = encodeFragments(
      PduType.request,
      { callId: 5, contextId: 0, operation: 15 },
      Buffer.alloc(8000),
      4280,
    );
    const more = Buffer.from(first ?? '');
    more.writeUInt8(0, 3);
    expect(rpc.handle(first ?? Buffer.alloc(0))).toEqual([]);
    let answers: Buffer[] = [];
    for (let i = 0; i < 20 && answers.length === 0; i++) answers = rpc.handle(more);
    expect(faultStatus(one(answers))).toBe(FaultStatus.protocolError);
  });

  test('bytes that are no RPC, after which the pipe still works', () => {
    const rpc = bound();
    expect(faultStatus(one(rpc.handle(Buffer.alloc(40, 0xff))))).toBe(FaultStatus.protocolError);
    expect(netrShareEnumResponse(Buffer.concat(rpc.handle(netrShareEnumRequest('s'))))).toEqual(shares);
  });
});

describe('framing', () => {
  test('a PDU that arrives in pieces, and two at once', () => {
    const rpc = bound();
    const pdu = netrShareEnumRequest('s');
    expect(rpc.handle(pdu.subarray(0, 10))).toEqual([]);
    expect(rpc.handle(pdu.subarray(10, 50))).toEqual([]);
    expect(rpc.handle(pdu.subarray(50))).toHaveLength(1);
    expect(rpc.handle(Buffer.concat([pdu, pdu]))).toHaveLength(2);
  });

  test('a request in fragments', () => {
    const stub = netrShareEnumRequest('s'.repeat(2000)).subarray(24);
    const fragments = encodeFragments(PduType.request, { callId: 9, contextId: 0, operation: 15 }, stub, 1432);
    expect(fragments.length).toBeGreaterThan(2);
    const rpc = bound();
    const answers = fragments.flatMap((fragment) => rpc.handle(fragment));
    expect(netrShareEnumResponse(one(answers))).toEqual(shares);
    expect(decodeHeader(one(answers))).toMatchObject({
      callId: 9,
      flags: PduFlag.firstFragment | PduFlag.lastFragment,
    });
  });
});

describe('bad input', () => {
  const damaged = (valid: Buffer): fc.Arbitrary<Buffer> =>
    fc
      .tuple(fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 4 }), fc.nat(valid.length))
      .map(([changes, cut]) => {
        const copy = Buffer.from(valid);
        for (const [at, byte] of changes) copy[at] = byte;
        return copy.subarray(0, copy.length - (cut % 8));
      });
  const random = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));

  test('the server never throws', () => {
    fc.assert(
      fc.property(
        fc.oneof(random, damaged(srvsvcBind())),
        fc.oneof(random, damaged(netrShareEnumRequest('s'))),
        (a, b) => {
          const rpc = server();
          rpc.handle(a);
          rpc.handle(b);
          bound().handle(b);
        },
      ),
      { numRuns: 3000 },
    );
  });

  test('the client throws nothing but WireError', () => {
    const ack = one(server().handle(srvsvcBind()));
    const answer = one(bound().handle(netrShareEnumRequest('s')));
    fc.assert(
      fc.property(fc.oneof(random, damaged(ack)), fc.oneof(random, damaged(answer)), (a, b) => {
        for (const decode of [() => expectBindAck(a), () => netrShareEnumResponse(b), () => responseIsComplete(b)]) {
          try {
            decode();
          } catch (error) {
            if (!(error instanceof WireError)) throw error;
          }
        }
      }),
      { numRuns: 3000 },
    );
  });
});
