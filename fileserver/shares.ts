import type { Permission, ShareConfig, VolumeConfig } from '../common/config.ts';

/** What a client can connect to (MS-SMB2 3.3.1.6). One object as long as its configuration stays the same. */
export interface Share {
  readonly name: string;
  /** IPC$: its opens are named pipes (services.pipes), it has no folder. */
  readonly isPipe: boolean;
  /** Absolute path of the share's folder on this machine: volume.path + config.path. Empty for IPC$. */
  readonly path: string;
  /** Undefined for IPC$. */
  readonly config: ShareConfig | undefined;
  readonly volume: VolumeConfig | undefined;
  /** Opens may be persistent, and everything is written through (invariant 5 of the design). */
  readonly continuouslyAvailable: boolean;
  readonly scaleOut: boolean;
}

/** The shares of the configuration file, which is read again when it changes. */
export interface Shares {
  /** Without regard to case. */
  find(name: string): Share | undefined;
  all(): readonly Share[];
  /** What the share's access rules give a user; undefined: nothing. The most generous of the rules that name the user or "*". */
  permissionOf(share: Share, user: string): Permission | undefined;
}
