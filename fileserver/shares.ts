import type { ClusterConfig, Permission, ShareConfig, VolumeConfig } from '../common/config.ts';
import { foldCase } from '../smb/fscc/names.ts';

/** What a client can connect to (MS-SMB2 3.3.1.6). One object as long as its configuration stays the same. */
export interface Share {
  readonly name: string;
  /** IPC$: its opens are named pipes, it has no folder. */
  readonly isPipe: boolean;
  /** Absolute path of the share's folder on this machine: volume.path + config.path. Empty for IPC$. */
  readonly path: string;
  /** Undefined for IPC$. */
  readonly config: ShareConfig | undefined;
  readonly volume: VolumeConfig | undefined;
  /** Opens may be persistent, and everything is written through (invariant 5 of the design). */
  readonly continuouslyAvailable: boolean;
  readonly scaleOut: boolean;
  /** Listings show a user only what they may read (Share.DoAccessBasedDirectoryEnumeration). */
  readonly accessBasedEnumeration: boolean;
}

const IPC: Share = {
  name: 'IPC$',
  isPipe: true,
  path: '',
  config: undefined,
  volume: undefined,
  continuouslyAvailable: false,
  scaleOut: false,
  accessBasedEnumeration: false,
};

const GENEROSITY: Record<Permission, number> = { Read: 1, Change: 2, Full: 3 };

/** The shares of the configuration file, which is read again when it changes. */
export class Shares {
  #byName = new Map<string, Share>();

  constructor(config: Pick<ClusterConfig, 'shares' | 'volumes'>) {
    this.update(config);
  }

  /** Takes the shares of a configuration that was read again; tree connects that go on keep the share they have. */
  update({ shares, volumes }: Pick<ClusterConfig, 'shares' | 'volumes'>): void {
    const byName = new Map<string, Share>([[foldCase(IPC.name), IPC]]);
    for (const config of shares) {
      const volume = volumes.find(({ name }) => name === config.volume);
      if (!volume) continue;
      byName.set(foldCase(config.name), {
        name: config.name,
        isPipe: false,
        path: `${volume.path.replace(/\/+$/, '')}${config.path === '/' ? '' : config.path}`,
        config,
        volume,
        continuouslyAvailable: config.continuouslyAvailable,
        scaleOut: config.scaleOut,
        accessBasedEnumeration: config.accessBasedEnumeration ?? false,
      });
    }
    this.#byName = byName;
  }

  /** Without regard to case. */
  find(name: string): Share | undefined {
    return this.#byName.get(foldCase(name));
  }

  all(): readonly Share[] {
    return [...this.#byName.values()];
  }

  /** Whether a user who is connected to a share as it was would still get into the same folder under the same name. */
  stillGives(share: Share, user: string): boolean {
    const now = this.find(share.name);
    return now !== undefined && now.path === share.path && this.permissionOf(now, user) !== undefined;
  }

  /**
   * What the share's access rules give a user; undefined: nothing. The most generous of the rules that name the user or "*".
   * Asked at each TREE_CONNECT, so that a rule that was changed takes effect there.
   */
  permissionOf(share: Share, user: string): Permission | undefined {
    if (!share.config) return 'Read';
    const name = foldCase(user);
    let best: Permission | undefined;
    for (const { principal, permission } of share.config.access) {
      if (principal !== '*' && foldCase(principal) !== name) continue;
      if (!best || GENEROSITY[permission] > GENEROSITY[best]) best = permission;
    }
    return best;
  }
}
