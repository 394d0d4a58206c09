// The shares and servers that smbtorture is run against.

/** One way to set up the servers, with the table of what is expected of them. */
export interface Variant {
  name: string;
  /** The table in this folder. */
  expected: string;
  servers: number;
  /** Of `holdfast serve`, besides those of every variant. */
  serveFlags: readonly string[];
  /** Of smbtorture. */
  tortureFlags: readonly string[];
  /** The tests that it is about; all, where it does not say. */
  about?: RegExp;
  /** A script of this folder that makes the surroundings that servers and tests need, and runs a command in them. */
  within?: string;
  /** Which of the tests that pass are run when CI runs all variants; what the variant changes nothing about is left out. */
  inCi: (test: string) => boolean;
}

export const variants = {
  plain: {
    name: 'plain',
    expected: 'expected.tsv',
    servers: 1,
    serveFlags: [],
    tortureFlags: [],
    inCi: () => true,
  },
  continuouslyAvailable: {
    name: 'continuously available',
    expected: 'expected-ca.tsv',
    servers: 1,
    serveFlags: ['--continuously-available'],
    tortureFlags: [],
    inCi: () => true,
  },
  twoServers: {
    name: 'two servers',
    expected: 'expected-two-servers.tsv',
    servers: 2,
    serveFlags: [],
    tortureFlags: [],
    inCi: () => true,
  },
  encrypted: {
    name: 'encrypted',
    expected: 'expected-encrypted.tsv',
    servers: 1,
    serveFlags: ['--encryption', 'Required'],
    tortureFlags: ['--client-protection=encrypt'],
    inCi: (test) => /^smb2\.(connect|compound\.|rw|read|session\.(reconnect1|encryption))/.test(test),
  },
  btrfs: {
    name: 'btrfs',
    expected: 'expected-btrfs.tsv',
    servers: 1,
    serveFlags: [],
    tortureFlags: [],
    about: /^smb2\.ioctl\.(compress_|dup_extents_|sparse_compressed$)/,
    within: 'with-btrfs.sh',
    inCi: () => true,
  },
  network: {
    name: 'a network of its own',
    expected: 'expected-network.tsv',
    servers: 1,
    serveFlags: ['--port', '445'],
    tortureFlags: ['--option=torture:use_iptables=yes', '--option=torture:iptables_command=/usr/sbin/iptables'],
    about: /^smb2\.(multichannel\.|oplock\.batch22b$|replay\.dhv2-pending3.*-sane$)/,
    within: 'with-network.sh',
    inCi: (test) => /^smb2\.(multichannel\.(bugs|\w+\.test2$)|replay\.dhv2-pending3n-vs-lease)/.test(test),
  },
} satisfies Record<string, Variant>;

export type VariantName = keyof typeof variants;
