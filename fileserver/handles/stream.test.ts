import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { type OpenRecord, Outcome, type ServerIdentity } from '../../proto/generated/handles.ts';
import { eventually } from '../testing/eventually.ts';
import { ScriptedSidecar } from '../testing/scripted-sidecar.ts';
import type { ChangeCommands, SidecarCommands } from './commands.ts';
import { HandlesStream } from './stream.ts';

const closing = (openId: bigint) => ({ $case: 'close', value: { fileId: Buffer.from('f'), openId } }) as const;

describe('the stream to the sidecar', () => {
  let folder: string;
  let sidecar: ScriptedSidecar;
  let stream: HandlesStream;
  let records: OpenRecord[];
  let registrations: { identity: ServerIdentity; resumed: boolean }[];
  let fences: string[];
  let dropped: bigint[];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-stream-'));
    sidecar = new ScriptedSidecar();
    records = [];
    registrations = [];
    fences = [];
    dropped = [];
    await sidecar.start(join(folder, 'sidecar.sock'));
    const commands: Partial<SidecarCommands> = {
      dropOpen: async ({ openId }) => dropped.push(openId) > 0,
      quiesce: async () => ({ unfinishedOpenIds: [7n], sessionIds: [8n] }),
      warmUp: () => Promise.reject(new Error('not today')),
    };
    stream = new HandlesStream({
      socketPath: join(folder, 'sidecar.sock'),
      worker: '0',
      lockPath: join(folder, 'lock'),
      smbAddress: '127.0.0.1:445',
      helloTimeoutMs: { first: 100, most: 200 },
      log: pino({ level: 'silent' }),
      commands: commands as SidecarCommands & ChangeCommands,
      records: () => records,
      lockState: () => undefined,
      troubles: () => [],
      registered: ({ identity }, resumed) => registrations.push({ identity, resumed }),
      renewed: () => {},
      fenced: async (reason) => {
        fences.push(reason);
      },
    });
    stream.start();
    await eventually('registered', () => registrations.length === 1);
  });

  afterEach(() => {
    stream.stop();
    sidecar.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const sent = (kind: string) => sidecar.requests.filter(({ body }) => body?.$case === kind);

  test('requests of one turn arrive in the order in which they were made', async () => {
    const replies = await Promise.all([1n, 2n, 3n].map((id) => stream.ask(closing(id))));
    expect(replies.map(({ outcome }) => outcome)).toEqual([Outcome.GRANTED, Outcome.GRANTED, Outcome.GRANTED]);
    expect(sent('close').map(({ body }) => (body?.$case === 'close' ? body.value.openId : 0n))).toEqual([1n, 2n, 3n]);
  });

  test('a lost stream is resumed under the same identity, with the opens, and repeats what was not answered', async () => {
    sidecar.decide = ({ body }) => (body?.$case === 'close' ? undefined : { outcome: Outcome.GRANTED });
    records = [{ ...emptyRecord(), openId: 5n }];
    const closed = stream.ask(closing(5n));
    await eventually('the request arrived', () => sent('close').length === 1);

    sidecar.decide = () => ({ outcome: Outcome.GRANTED });
    sidecar.cut();

    expect((await closed).outcome).toBe(Outcome.GRANTED);
    expect(registrations.at(-1)).toEqual({ identity: registrations[0]?.identity, resumed: true });
    expect(sent('reportOpens')).toHaveLength(1);
    expect(sent('close')).toHaveLength(2);
    expect(sent('close')[0]?.id).toBe(sent('close')[1]?.id);
  });

  test('a Hello that is not answered is said again, with more and more patience, as the same request', async () => {
    const saidMs: number[] = [];
    sidecar.isTakingHello = false;
    sidecar.decide = ({ body }) => {
      if (body?.$case === 'hello') saidMs.push(performance.now());
      return undefined;
    };
    sidecar.epoch = 2n;
    sidecar.send({ $case: 'fenced', value: { reason: 'silent for too long' } });
    await eventually('asked four times', () => saidMs.length === 4);
    // Waited for 100 ms, 200 and 200, and a moment between two streams.
    const waitedMs = saidMs.slice(1).map((ms, i) => ms - (saidMs[i] ?? 0));
    expect(waitedMs.map((ms) => ms >= 195)).toEqual([false, true, true]);

    sidecar.decide = () => ({ outcome: Outcome.GRANTED });
    sidecar.isTakingHello = true;
    await eventually('registered anew', () => registrations.length === 2);
    const attempts = sent('hello').map(({ body }) => (body?.$case === 'hello' ? hex(body.value.attempt) : ''));
    expect(attempts.slice(1).every((attempt) => attempt === attempts.at(-1))).toBe(true);
    expect(attempts[0]).not.toBe(attempts[1]); // it had been answered
  });

  test('opens of which one report was refused are reported again', async () => {
    records = Array.from({ length: 600 }, (_, i) => ({ ...emptyRecord(), openId: BigInt(i + 1) }));
    let reports = 0;
    sidecar.decide = ({ body }) => {
      if (body?.$case !== 'reportOpens') return { outcome: Outcome.GRANTED };
      return { outcome: ++reports === 2 ? Outcome.STORE_UNAVAILABLE : Outcome.GRANTED };
    };
    sidecar.cut();
    await eventually('registered again', () => registrations.length === 2);
    expect(reports).toBe(6);
  });

  test('when fenced, everything is let go before a new identity is asked for', async () => {
    sidecar.decide = ({ body }) => (body?.$case === 'close' ? undefined : { outcome: Outcome.GRANTED });
    const closed = stream.ask(closing(1n));
    await eventually('the request arrived', () => sent('close').length === 1);
    sidecar.epoch = 2n;

    sidecar.send({ $case: 'fenced', value: { reason: 'silent for too long' } });

    expect((await closed).outcome).toBe(Outcome.FENCED);
    await eventually('registered anew', () => registrations.length === 2);
    expect(fences).toEqual(['silent for too long']);
    expect(registrations[1]).toEqual({ identity: { serverId: 'scripted/0', epoch: 2n }, resumed: false });
  });

  test('what was begun under an identity that was fenced is not asked for under the next one', async () => {
    const waiter = { goAsync: () => {}, signal: new AbortController().signal, epoch: 1n };
    expect((await stream.ask(closing(1n), waiter)).outcome).toBe(Outcome.GRANTED);
    sidecar.epoch = 2n;
    sidecar.send({ $case: 'fenced', value: { reason: 'silent for too long' } });
    await eventually('registered anew', () => registrations.length === 2);
    expect((await stream.ask(closing(2n), waiter)).outcome).toBe(Outcome.FENCED);
    expect((await stream.ask(closing(3n), { ...waiter, epoch: 2n })).outcome).toBe(Outcome.GRANTED);
    expect(sent('close').map(({ body }) => (body?.$case === 'close' ? body.value.openId : 0n))).toEqual([1n, 3n]);
  });

  test('a resumption that is refused as fenced ends the identity', async () => {
    sidecar.epoch = 2n;
    sidecar.decide = ({ body }) =>
      body?.$case === 'hello' && body.value.resume ? { outcome: Outcome.FENCED } : { outcome: Outcome.GRANTED };
    sidecar.cut();
    await eventually('registered anew', () => registrations.length === 2);
    expect(fences).toHaveLength(1);
    expect(registrations[1]?.resumed).toBe(false);
  });

  test('a decision that waits tells its waiter, and is given up when that aborts', async () => {
    sidecar.decide = ({ body }) => (body?.$case === 'lock' ? { interim: true } : { outcome: Outcome.GRANTED });
    const abort = new AbortController();
    let isAsync = false;
    const locked = stream.ask(
      {
        $case: 'lock',
        value: {
          fileId: Buffer.from('f'),
          openId: 1n,
          elements: [],
          sequenceIndex: 0,
          sequenceNumber: 0,
          processKey: 0,
        },
      },
      {
        goAsync: () => {
          isAsync = true;
        },
        signal: abort.signal,
      },
    );
    await eventually('the waiter was told', () => isAsync);
    abort.abort();
    await eventually('the sidecar was told', () => sent('cancel').length === 1);
    const id = sent('lock')[0]?.id ?? 0n;
    expect(sent('cancel')[0]?.body).toEqual({ $case: 'cancel', value: { requestId: id } });
    sidecar.reply({ id, outcome: Outcome.CANCELLED });
    expect((await locked).outcome).toBe(Outcome.CANCELLED);
  });

  test('commands are carried out and answered; one that fails is answered as failed', async () => {
    const drop = await sidecar.command({ $case: 'dropOpen', value: { fileId: Buffer.from('f'), openId: 9n } });
    expect(drop.ok).toBe(true);
    expect(dropped).toEqual([9n]);
    const quiesce = await sidecar.command({ $case: 'quiesce', value: { sessionIds: [], timeoutMs: 100 } });
    expect(quiesce.body).toEqual({ $case: 'quiesce', value: { unfinishedOpenIds: [7n], sessionIds: [8n] } });
    expect((await sidecar.command({ $case: 'warmUp', value: { opens: [] } })).ok).toBe(false);
  });
});

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function emptyRecord(): OpenRecord {
  return {
    openId: 0n,
    fileId: Buffer.alloc(0),
    share: '',
    path: '',
    isDirectory: false,
    access: 0,
    shareAccess: 0,
    durability: 0,
    timeoutMs: 0,
    createGuid: Buffer.alloc(0),
    clientGuid: Buffer.alloc(0),
    appInstanceId: Buffer.alloc(0),
    user: '',
    sessionId: 0n,
    oplock: 0,
    lease: undefined,
    deleteOnClose: false,
    attachment: Buffer.alloc(0),
    owner: undefined,
    ownershipVersion: 0n,
    state: 0,
    locks: [],
    lockSequences: Buffer.alloc(0),
    deletePending: false,
  };
}
