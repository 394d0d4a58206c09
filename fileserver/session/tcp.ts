import type { Socket } from 'node:net';
import { unsentBytes } from '../volume/posix.ts';

/** The descriptor of a connected socket; undefined where there is none (any more). */
export function descriptorOf(socket: Socket): number | undefined {
  // Node has no public way to it.
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: unknown } | null };
  const fd = handle?.fd;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}

/** Bytes that were given to the kernel and not acknowledged by the other side's TCP yet; undefined where that is not known. */
export function unacknowledgedBytes(socket: Socket): number | undefined {
  const fd = descriptorOf(socket);
  if (fd === undefined) return undefined;
  const bytes = unsentBytes(fd);
  return bytes < 0 ? undefined : bytes;
}
