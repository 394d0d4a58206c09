/** One request of a file server while it is being decided. */
export interface Pending {
  /** Says that the decision waits; told to the file server once, however often it is called. */
  interim(): void;
  /** The file server gave the request up, or went away. */
  readonly cancelled: boolean;
  /** Called when it is given up. */
  onCancel: (() => void) | undefined;
}
