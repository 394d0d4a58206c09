import type { ClusterConfig } from '../common/config.ts';

/** What does not change while the process lives. */
export interface Settings {
  readonly config: ClusterConfig;
  /** ServerGuid (MS-SMB2 3.3.1.5): random, another in every process. 16 bytes. */
  readonly serverGuid: Buffer;
  /** Name that clients are shown, at most 15 characters. */
  readonly serverName: string;
  /** Where clients reach this process, host:port. */
  readonly advertise: string;
}
