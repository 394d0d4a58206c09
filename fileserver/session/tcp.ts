import type { Socket } from 'node:net';
import { unsentBytes } from '../volume/posix.ts';

/** Bytes that were given to the kernel and not acknowledged by the other side's TCP yet; undefined where that is not known. */
export function unacknowledgedBytes(socket: Socket): number | undefined {
  // Node has no public way to a socket's descriptor.
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: unknown } | null };
  const fd = handle?.fd;
  if (typeof fd !== 'number' || fd < 0) return undefined;
  const bytes = unsentBytes(fd);
  return bytes < 0 ? undefined : bytes;
}
