import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { type Certificate, createAuthority, issueCertificate, notAfterMs } from './certificates.ts';
import { OPERATOR_IDENTITY, SIDECAR_IDENTITY } from './tls.ts';

describe('certificates of a cluster', () => {
  let authority: Certificate;
  let sidecar: Certificate;

  beforeAll(async () => {
    authority = await createAuthority('test', 30);
    sidecar = await issueCertificate(authority, [SIDECAR_IDENTITY], 10);
  });

  /** What the caller's identity is to the server, or how the handshake failed. */
  async function handshake(client: Certificate, ca: string, expected: string): Promise<string> {
    const server = createServer({
      ca: authority.certificate,
      cert: sidecar.certificate,
      key: sidecar.key,
      requestCert: true,
      rejectUnauthorized: true,
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      return await new Promise<string>((resolve) => {
        server.once('tlsClientError', (error) => resolve(`refused: ${error.message}`));
        server.once('secureConnection', (socket: TLSSocket) => {
          resolve(socket.getPeerX509Certificate()?.subjectAltName ?? '');
          socket.destroy();
        });
        const { port } = server.address() as AddressInfo;
        connect({ host: '127.0.0.1', port, ca, cert: client.certificate, key: client.key, servername: expected })
          .once('error', (error) => resolve(`refused: ${error.message}`))
          .on('error', () => {});
      });
    } finally {
      server.close();
    }
  }

  test('let two parts of the same cluster know each other', async () => {
    const operator = await issueCertificate(authority, [OPERATOR_IDENTITY], 10);
    expect(await handshake(operator, authority.certificate, SIDECAR_IDENTITY)).toBe(`DNS:${OPERATOR_IDENTITY}`);
  });

  test('of another authority are refused, both ways', async () => {
    const other = await createAuthority('other', 30);
    const stranger = await issueCertificate(other, [OPERATOR_IDENTITY], 10);
    expect(await handshake(stranger, authority.certificate, SIDECAR_IDENTITY)).toMatch(/^refused/);
    expect(await handshake(sidecar, other.certificate, SIDECAR_IDENTITY)).toMatch(/^refused/);
  });

  test('stand for their own identity only', async () => {
    expect(await handshake(sidecar, authority.certificate, OPERATOR_IDENTITY)).toMatch(/^refused.*Hostname/);
  });

  test('end when they were told to', () => {
    expect(notAfterMs(sidecar.certificate) / 86_400_000).toBeCloseTo(Date.now() / 86_400_000 + 10, 1);
  });
});
