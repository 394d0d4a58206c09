import type { Stat } from '../volume/posix.ts';
import { statOf } from '../volume/volume.ts';
import type { OpenFile } from './open-file.ts';

/** Of what is open; of a stream its size, and all else of its file. Throws PosixError. */
export async function statOfOpen(open: OpenFile): Promise<Stat> {
  const { posix } = open.folder;
  const stat = await statOf(posix, open.fd);
  return open.base ? (await statOf(posix, open.base.fd)).takeData(stat) : stat;
}
