import type { Break, ComingOpen, FileState, OpenRecord } from '../../proto/generated/handles.ts';
import type { Session, TreeConnect } from './session.ts';

/** What sessions and the commands of the sidecar ask of the opens in memory. fileserver/opens/ implements it. */
export interface OpenTable {
  /** TREE_DISCONNECT (MS-SMB2 3.3.5.8): closes every open of the tree connect, durable ones too. */
  endTree(tree: TreeConnect): Promise<void>;
  /**
   * The session is over (LOGOFF, lost connection, PreviousSessionId, DropSession): every open of it ends; those that are
   * durable or persistent are disconnected (handles.disconnect) and wait in the table, the others are closed (handles.close).
   * Operations in flight end first. Resolves when the sidecar has answered. Never rejects.
   */
  endSession(session: Session): Promise<void>;
  /** Every open that this process holds, for Hello.resume. */
  records(): OpenRecord[];
  /** What is known of a file that has, or had, locks. */
  lockState(fileId: Uint8Array): FileState | undefined;
  /**
   * Fenced, or released to another server: closes the descriptors of all opens (or of those named), tells the sidecar nothing.
   * Operations in flight end first; what is not issued yet fails with FencedError.
   */
  dropAll(): Promise<void>;
  drop(openIds: readonly bigint[]): Promise<void>;
  /** The same for every open of a session: it was handed to another server. */
  dropSession(session: Session): Promise<void>;
  /**
   * Quiesce: resolves when no operation that changes anything is in flight on opens of these sessions and what they wrote is
   * stable (fsync), or after timeoutMs; with the ids of the opens that have an unfinished change. For each of these
   * `finished` is called when it has returned and is stable. No request of these sessions is dispatched meanwhile.
   */
  settle(sessions: readonly Session[], timeoutMs: number, finished: (openId: bigint) => void): Promise<bigint[]>;
  /** Looks names up ahead of a transfer. Best effort; never rejects. */
  warmUp(records: readonly ComingOpen[], most: number): Promise<boolean>;
  /** A custodian's duty: unlinks the file if the name still is that file; true when it is gone (also if it was before). */
  removeFile(fileId: Buffer, share: string, path: string): Promise<boolean>;
  /** The file's locks changed somewhere: takes the newer list; resolves when I/O that overlaps it has ended. */
  takeFileState(state: FileState): Promise<void>;
  /** Sends the break to the open's client; false when there is no such open or it has no connection. */
  deliverBreak(wanted: Break): Promise<boolean>;
}
