import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { checkClusterConfig, readClusterConfig } from './config.ts';

const smallest = () => ({
  clusterId: 'c',
  clusterName: 'media',
  volumes: [{ name: 'data', path: '/srv/data' }],
  shares: [{ name: 'projects', volume: 'data' }],
  store: { addresses: ['127.0.0.1:6379'] },
});

describe('the configuration', () => {
  test('of the smallest cluster has safe defaults', () => {
    const config = checkClusterConfig(smallest());
    expect(config.security).toEqual({ signing: 'Required', minDialect: '3.0' });
    expect(config.failover).toEqual({ leaseDurationMs: 5000, writeSettleMs: 1000, maxExtensionMs: 30_000 });
    expect(config.handles).toEqual({ persistentTimeoutMs: 300_000, durableTimeoutMs: 60_000 });
    expect(config.volumes[0]).toEqual({ name: 'data', path: '/srv/data', fencing: 'Deadline' });
    expect(config.shares[0]).toMatchObject({ path: '/', continuouslyAvailable: false, access: [] });
    expect(config.store).toEqual({ mode: 'Standalone', addresses: ['127.0.0.1:6379'], durability: { mode: 'Always' } });
  });

  test('keeps the limits that are given, and no others', () => {
    const limits = { opens: 100, perUser: { bytesInFlight: 1_000_000 } };
    const config = checkClusterConfig({ ...smallest(), limits: { ...limits, other: 1 } });
    expect(config.limits).toEqual(limits);
    expect(checkClusterConfig({ ...smallest(), security: { anonymousIpc: true } }).security.anonymousIpc).toBe(true);
  });

  test.each([
    ['limits.perUser.sessions', { limits: { perUser: { sessions: 0 } } }],
    ['security.encryption', { security: { encryption: 'Off' } }],
    ['security.anonymousIpc', { security: { anonymousIpc: 'yes' } }],
    ['shares[0].volume', { shares: [{ name: 'a', volume: 'nowhere' }] }],
    [
      'two shares are named "a"',
      {
        shares: [
          { name: 'a', volume: 'data' },
          { name: 'A', volume: 'data' },
        ],
      },
    ],
    ['volumes[0].path', { volumes: [{ name: 'data', path: 'relative' }] }],
    ['failover.leaseDurationMs', { failover: { leaseDurationMs: 999 } }],
    ['logLevel', { logLevel: 'loud' }],
    ['security.minDialect', { security: { minDialect: '1.0' } }],
    ['store.addresses', { store: { addresses: [] } }],
    ['store.durability.replicas', { store: { addresses: ['a:1'], durability: { mode: 'Replicated' } } }],
    [
      'shares[0].access[0].permission',
      { shares: [{ name: 'a', volume: 'data', access: [{ principal: 'x', permission: 'Write' }] }] },
    ],
  ])('names the field: %s', (field, difference) => {
    expect(() => checkClusterConfig({ ...smallest(), ...difference })).toThrow(field);
  });

  test('that cannot be read says which file, and why', () => {
    const folder = mkdtempSync(join(tmpdir(), 'config-'));
    try {
      expect(() => readClusterConfig(join(folder, 'none.json'))).toThrow(/none\.json.*ENOENT/);
      writeFileSync(join(folder, 'half.json'), '{"clusterId":');
      expect(() => readClusterConfig(join(folder, 'half.json'))).toThrow(/half\.json cannot be used/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
