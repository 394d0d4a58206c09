/** A lease's name among all: the client's and the key that the client chose. */
export const leaseNameOf = (clientGuid: Uint8Array, key: Uint8Array): string =>
  Buffer.concat([clientGuid, key]).toString('latin1');
