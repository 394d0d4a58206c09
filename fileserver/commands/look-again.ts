/** A name does not lead to where it led when it was looked up any more: all that followed from it has to be done anew. */
export class LookAgain extends Error {
  readonly code = 'LOOK_AGAIN';
}
