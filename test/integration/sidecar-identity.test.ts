// Who may ask a sidecar what, and certificates that are exchanged under processes that go on.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { credentials, Server, type ServiceError, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createAuthority } from '../../common/certificates.ts';
import {
  OPERATOR_IDENTITY,
  PeerServerCredentials,
  readTlsMaterial,
  SIDECAR_IDENTITY,
  sidecarChannel,
  type TlsMaterial,
} from '../../common/tls.ts';
import { beginReplacement, type ClusterAuthority, nextAuthority } from '../../operator/resources/authority.ts';
import { certificateSecret, makeAuthority } from '../../operator/resources/certificates.ts';
import { PROPAGATION_MS } from '../../operator/resources/propagation.ts';
import { cluster as fileServerCluster } from '../../operator/testing/fixtures.ts';
import { ControlClient, MigrateRequest, type MigrationProgress } from '../../proto/generated/control.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import { PeerClient } from '../../proto/generated/peer.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { until } from '../../sidecar/testing/redis.ts';

/** For calls that are answered; a machine that has much to do answers slowly. */
const PATIENCE_MS = 20_000;
/** So long a connection is tried that nobody should come to have. */
const REFUSED_WITHIN_MS = 1000;
let cluster: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.start(2);
}, 20_000);
afterAll(() => cluster.stop());

/** What a call ends with: OK or the status of its error. */
type Ended = number;
const codeOf = (error: ServiceError | null): Ended => (error ? error.code : status.OK);
const options = () => ({ deadline: Date.now() + PATIENCE_MS });

/** How a sidecar answers a caller with these certificates. */
async function asks(
  address: string,
  folder: string,
  connectedWithinMs = PATIENCE_MS,
): Promise<Record<'ping' | 'getStatus' | 'migrate', Ended>> {
  const channel = sidecarChannel(readTlsMaterial(folder));
  const peer = new PeerClient(address, channel.credentials, channel.options);
  const control = new ControlClient(address, channel.credentials, channel.options);
  try {
    const ping = await new Promise<Ended>((resolve) =>
      peer.waitForReady(Date.now() + connectedWithinMs, (error) =>
        error ? resolve(status.UNAVAILABLE) : peer.ping({ fromServerId: '' }, (failed) => resolve(codeOf(failed))),
      ),
    );
    if (ping === status.UNAVAILABLE) return { ping, getStatus: ping, migrate: ping };
    const getStatus = await new Promise<Ended>((resolve) => control.getStatus({}, (failed) => resolve(codeOf(failed))));
    const migrate = await new Promise<Ended>((resolve) => {
      const request = MigrateRequest.create({ migrationId: 'asked', targetPods: ['nobody'], timeoutMs: 1 });
      const call = control.migrate(request, options());
      call.on('data', (_: MigrationProgress) => undefined);
      call.on('end', () => resolve(status.OK));
      call.on('error', (error: ServiceError) => resolve(codeOf(error)));
    });
    return { ping, getStatus, migrate };
  } finally {
    peer.close();
    control.close();
  }
}

const everything = { ping: status.OK, getStatus: status.OK, migrate: status.OK };
const nothing = { ping: status.UNAVAILABLE, getStatus: status.UNAVAILABLE, migrate: status.UNAVAILABLE };

describe('a sidecar', () => {
  test('does for another sidecar what sidecars ask for', async () => {
    expect(await asks(cluster.pod(0).address, cluster.tlsDir)).toEqual(everything);
  });

  test('does for the operator what operators ask for, and nothing of what sidecars do', async () => {
    const answers = await asks(cluster.pod(0).address, cluster.operatorTls);
    expect(answers).toEqual({ ...everything, ping: status.PERMISSION_DENIED });
  });

  test('does nothing for anybody else of the cluster', async () => {
    const folder = join(cluster.folder, 'somebody');
    await cluster.issue(folder, 'somebody.holdfast.internal');
    const denied = status.PERMISSION_DENIED;
    expect(await asks(cluster.pod(0).address, folder)).toEqual({ ping: denied, getStatus: denied, migrate: denied });
  });

  test('speaks with nobody whose certificate another authority made, or who has none', async () => {
    const folder = join(cluster.folder, 'stranger');
    await cluster.issue(folder, SIDECAR_IDENTITY, await createAuthority('other', 1));
    expect(await asks(cluster.pod(0).address, folder, REFUSED_WITHIN_MS)).toEqual(nothing);

    const { ca } = readTlsMaterial(cluster.tlsDir);
    const name = { 'grpc.ssl_target_name_override': SIDECAR_IDENTITY };
    const nameless = new PeerClient(cluster.pod(0).address, credentials.createSsl(ca), name);
    const ended = await new Promise<Ended>((resolve) =>
      nameless.waitForReady(Date.now() + REFUSED_WITHIN_MS, (error) =>
        error ? resolve(status.UNAVAILABLE) : nameless.ping({ fromServerId: '' }, (failed) => resolve(codeOf(failed))),
      ),
    );
    nameless.close();
    expect(ended).toBe(status.UNAVAILABLE);
  });

  test('is called by nobody who takes it for another part', async () => {
    const folder = join(cluster.folder, 'pretender');
    await cluster.issue(folder, OPERATOR_IDENTITY);
    const pretender = new Server();
    const port = await new Promise<number>((resolve, reject) =>
      pretender.bindAsync('127.0.0.1:0', new PeerServerCredentials(readTlsMaterial(folder)), (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    );
    try {
      expect(await asks(`127.0.0.1:${port}`, cluster.tlsDir, REFUSED_WITHIN_MS)).toEqual(nothing);
    } finally {
      pretender.forceShutdown();
    }
  });
});

describe('an authority that is replaced', () => {
  let folder = '';
  /** What pods have of each step, in their order. */
  const steps: TlsMaterial[] = [];

  async function materialOf(step: string, authority: ClusterAuthority): Promise<TlsMaterial> {
    const { data = {} } = await certificateSecret(fileServerCluster(), authority);
    const path = join(folder, step);
    mkdirSync(path, { recursive: true });
    for (const [file, value] of Object.entries(data)) writeFileSync(join(path, file), Buffer.from(value, 'base64'));
    return readTlsMaterial(path);
  }

  beforeAll(async () => {
    folder = join(cluster.folder, 'replaced');
    const signer = await makeAuthority(fileServerCluster());
    const old: ClusterAuthority = { signer, trusted: [signer.certificate] };
    steps.push(await materialOf('0', old));
    let now = beginReplacement(old, await makeAuthority(fileServerCluster()), 'x', 0);
    for (let nowMs = 1; ; nowMs += PROPAGATION_MS) {
      steps.push(await materialOf(String(steps.length), now));
      const step = nextAuthority(now, 'x', false, nowMs + PROPAGATION_MS);
      if (step.wanted !== 'step') break;
      now = step.next;
    }
  });

  /** Whether one with these certificates comes through to one with those. */
  async function reaches(from: TlsMaterial, to: TlsMaterial, withinMs = PATIENCE_MS): Promise<boolean> {
    const server = new Server();
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', new PeerServerCredentials(to), (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    );
    const channel = sidecarChannel(from);
    const client = new PeerClient(`127.0.0.1:${port}`, channel.credentials, channel.options);
    try {
      return await new Promise((resolve) =>
        client.waitForReady(Date.now() + withinMs, (error) =>
          error
            ? resolve(false)
            : client.ping({ fromServerId: '' }, (failed) => resolve(codeOf(failed) !== status.UNAVAILABLE)),
        ),
      );
    } finally {
      client.close();
      server.forceShutdown();
    }
  }

  test('leaves those who are a step behind or ahead understood, in both directions', async () => {
    expect(steps).toHaveLength(4);
    for (const [i, here] of steps.entries()) {
      for (const [j, there] of steps.entries()) {
        if (Math.abs(i - j) <= 1) expect([i, j, await reaches(here, there)]).toEqual([i, j, true]);
      }
    }
  }, 120_000);

  test('is worth nothing when it is over', async () => {
    const [first, last] = [steps.at(0), steps.at(-1)];
    if (!first || !last) throw new Error('no steps');
    expect(await reaches(first, last, REFUSED_WITHIN_MS)).toBe(false);
    expect(await reaches(last, first, REFUSED_WITHIN_MS)).toBe(false);
  });
});

describe('certificates that are rotated', () => {
  /** The certificate that a sidecar shows. */
  function shown(address: string): Promise<string> {
    const { ca, certificate, key } = readTlsMaterial(cluster.tlsDir);
    return new Promise((resolve, reject) => {
      const [host = '', port = ''] = address.split(':');
      const socket = connect(
        {
          host,
          port: Number(port),
          ca,
          cert: certificate,
          key,
          servername: SIDECAR_IDENTITY,
          rejectUnauthorized: false,
        },
        () => {
          resolve(socket.getPeerX509Certificate()?.serialNumber ?? '');
          socket.destroy();
        },
      );
      socket.once('error', reject);
    });
  }

  test('are shown, and asked for, by sidecars that go on', async () => {
    const [one, two] = [cluster.pod(0), cluster.pod(1)];
    await two.server.session(1n);
    await two.server.session(2n);
    const claim = (previousSessionId: bigint) =>
      one.server.ask({ $case: 'claimSession', value: { previousSessionId, user: 'alice' } });
    // given: a connection from the one to the other, made with the old certificate
    expect((await claim(1n)).outcome).toBe(Outcome.GRANTED);

    const before = await shown(one.address);
    await cluster.rotate();
    await until(
      async () => (await shown(one.address)) !== before && (await shown(two.address)) !== before,
      PATIENCE_MS,
    );
    expect(await asks(one.address, cluster.operatorTls)).toEqual({ ...everything, ping: status.PERMISSION_DENIED });

    // when: the other's sidecar is started again, and knows the new authority alone
    two.sidecar?.halt();
    two.server.detach();
    await two.startSidecar();
    await two.server.resume();
    // then: it is called with a certificate of that
    expect((await claim(2n)).outcome).toBe(Outcome.GRANTED);
  }, 60_000);
});
