import { Status } from '../../smb/status.ts';

/** What Windows answers where a volume fails like that. `code` is the name of an errno. */
export function statusOfErrno(code: string): number {
  return statuses[code] ?? Status.UNEXPECTED_IO_ERROR;
}

const statuses: Record<string, number> = {
  ENOENT: Status.OBJECT_NAME_NOT_FOUND,
  ENOTDIR: Status.OBJECT_PATH_NOT_FOUND,
  EEXIST: Status.OBJECT_NAME_COLLISION,
  EISDIR: Status.FILE_IS_A_DIRECTORY,
  ENOTEMPTY: Status.DIRECTORY_NOT_EMPTY,
  EACCES: Status.ACCESS_DENIED,
  EPERM: Status.ACCESS_DENIED,
  // Symbolic links that lead out of the share or into a circle, and other mounts below it.
  EXDEV: Status.ACCESS_DENIED,
  ELOOP: Status.ACCESS_DENIED,
  ENAMETOOLONG: Status.OBJECT_NAME_INVALID,
  EILSEQ: Status.OBJECT_NAME_INVALID,
  EINVAL: Status.INVALID_PARAMETER,
  ENOSPC: Status.DISK_FULL,
  EDQUOT: Status.DISK_FULL,
  EFBIG: Status.DISK_FULL,
  EROFS: Status.MEDIA_WRITE_PROTECTED,
  ESTALE: Status.FILE_CLOSED,
  EBADF: Status.FILE_CLOSED,
  EIO: Status.UNEXPECTED_IO_ERROR,
  ENXIO: Status.UNEXPECTED_IO_ERROR,
  // A network file system that lost its server, or a FUSE daemon that died: the volume is still mounted.
  ENOTCONN: Status.UNEXPECTED_IO_ERROR,
  EREMOTEIO: Status.UNEXPECTED_IO_ERROR,
  // Damage that the file system has found.
  EUCLEAN: Status.DISK_CORRUPT_ERROR,
  EBADMSG: Status.DISK_CORRUPT_ERROR,
  ENODEV: Status.NO_SUCH_DEVICE,
  EMFILE: Status.TOO_MANY_OPENED_FILES,
  ENFILE: Status.TOO_MANY_OPENED_FILES,
  EMLINK: Status.TOO_MANY_LINKS,
  ENOMEM: Status.INSUFFICIENT_RESOURCES,
  EBUSY: Status.SHARING_VIOLATION,
  ETXTBSY: Status.SHARING_VIOLATION,
  EAGAIN: Status.RETRY,
  ETIMEDOUT: Status.IO_TIMEOUT,
  EHOSTDOWN: Status.IO_TIMEOUT,
  EOPNOTSUPP: Status.NOT_SUPPORTED,
  ENOSYS: Status.NOT_SUPPORTED,
  ENODATA: Status.NOT_FOUND,
};
