import type {
  Break,
  Changes,
  DropOpen,
  DropSession,
  FileState,
  Quiesce,
  QuiesceAnswer,
  Release,
  RemoveFile,
  Resume,
  WarmUp,
  Watched,
} from '../../proto/generated/handles.ts';

/**
 * What the sidecar may tell this server to do. Each resolves when it is done (the sidecar then gets the answer); false or a
 * rejection is answered with ok = false.
 */
export interface SidecarCommands {
  fileState(state: FileState): Promise<boolean>;
  break(wanted: Break): Promise<boolean>;
  dropSession(command: DropSession): Promise<boolean>;
  stopAccepting(): Promise<boolean>;
  quiesce(command: Quiesce): Promise<QuiesceAnswer>;
  release(command: Release): Promise<boolean>;
  resume(command: Resume): Promise<boolean>;
  warmUp(command: WarmUp): Promise<boolean>;
  removeFile(command: RemoveFile): Promise<boolean>;
  dropOpen(command: DropOpen): Promise<boolean>;
}

/** What the sidecar brings of other servers' changes, and of what they watch; no answer is expected. */
export interface ChangeCommands {
  watched(command: Watched): Promise<boolean>;
  changed(command: Changes): Promise<boolean>;
}
