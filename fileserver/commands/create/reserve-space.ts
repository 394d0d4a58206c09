import { checked, Errno, FALLOC_KEEP_SIZE } from '../../volume/posix.ts';
import type { CreateAsk } from './create-ask.ts';

/** AlSi (MS-SMB2 3.3.5.9.2): room for what will be written. Where the volume cannot reserve any, writing takes it. Throws PosixError. */
export async function reserveSpace(ask: CreateAsk, fd: number, size: number): Promise<void> {
  if (size === 0) return;
  const result = await ask.folder.posix.allocate(fd, FALLOC_KEEP_SIZE, 0, size);
  if (result !== -Errno.EOPNOTSUPP && result !== -Errno.ENOSYS) checked(result, 'fallocate');
}
