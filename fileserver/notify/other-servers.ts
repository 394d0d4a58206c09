import type { Change, VolumePath } from './change.ts';

/** What a server watches: a directory's entries, or everything beneath it. */
export interface WatchedScope {
  volume: string;
  directory: VolumePath;
  recursive: boolean;
}

/** What is heard from the servers elsewhere. */
export interface Receiver {
  /** They made these changes, in this order as far as they are of one server. */
  changes(changes: readonly Change[]): void;
  /** Some of their changes were not brought here. */
  lost(): void;
  /** What any of them watches by now: the whole list. */
  watched(scopes: readonly WatchedScope[]): void;
}

/** The other servers of the cluster, as far as changes go: what they watch is told to them, and what they change comes here. */
export interface OtherServers {
  receive(receiver: Receiver): void;
  /**
   * Something more is watched. Resolves when they all know what is watched here, or when those who do not are known to be missed
   * (`lost` is called then): what they changed before was told by then, what they change later will be.
   */
  watch(scopes: readonly WatchedScope[]): Promise<void>;
  /** Less is watched: nothing has to be done at once. */
  unwatch(scopes: readonly WatchedScope[]): void;
  /** A change that one of them watches. Never blocks; what cannot be kept is told as lost. */
  tell(change: Change): void;
}

/** Nobody else serves. */
export class NoOtherServers implements OtherServers {
  receive(): void {}

  watch(): Promise<void> {
    return Promise.resolve();
  }

  unwatch(): void {}

  tell(): void {}
}
