// A mount of a folder as an NFS client has one: what it knows of a file is a handle that the folder's file system has made, and each request is
// about that handle. Whose file is removed in the folder meanwhile is told ESTALE, by that file system itself. Nothing is cached.
//   stale-mount FOLDER MOUNTPOINT     (root; stays in the foreground until it is unmounted)
#define _GNU_SOURCE
#define FUSE_USE_VERSION 34
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

struct node {
  struct node *next;
  uint64_t lookups;
  // What the kernel calls it by, with room for the handle behind it.
  struct file_handle *handle;
};

static struct node *nodes;
static int folder;

static struct node *node_of(fuse_ino_t ino) { return (struct node *)(uintptr_t)ino; }

/** Opens the file that a handle names; -1 with errno, ESTALE where it is gone. */
static int open_node(fuse_ino_t ino, int flags) {
  if (ino == FUSE_ROOT_ID) return openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return open_by_handle_at(folder, node_of(ino)->handle, flags | O_NOFOLLOW | O_CLOEXEC);
}

static int fail(fuse_req_t req) { return fuse_reply_err(req, errno); }

/** Ends a request by the result of a system call on a descriptor that is closed here. */
static void finish(fuse_req_t req, int fd, int result) {
  int error = result < 0 ? errno : 0;
  if (fd >= 0) close(fd);
  fuse_reply_err(req, error);
}

static struct node *remember(int directory, const char *name) {
  struct file_handle *handle = malloc(sizeof(*handle) + MAX_HANDLE_SZ);
  int mount;
  handle->handle_bytes = MAX_HANDLE_SZ;
  if (name_to_handle_at(directory, name, handle, &mount, 0) < 0) {
    free(handle);
    return NULL;
  }
  for (struct node *node = nodes; node; node = node->next) {
    struct file_handle *known = node->handle;
    if (known->handle_type == handle->handle_type && known->handle_bytes == handle->handle_bytes &&
        memcmp(known->f_handle, handle->f_handle, handle->handle_bytes) == 0) {
      free(handle);
      return node;
    }
  }
  struct node *node = calloc(1, sizeof(*node));
  node->handle = handle;
  node->next = nodes;
  return nodes = node;
}

static int enter(fuse_ino_t parent, const char *name, struct fuse_entry_param *entry) {
  memset(entry, 0, sizeof(*entry));
  int directory = open_node(parent, O_RDONLY);
  if (directory < 0) return -1;
  struct node *node = NULL;
  if (fstatat(directory, name, &entry->attr, AT_SYMLINK_NOFOLLOW) == 0) node = remember(directory, name);
  int error = errno;
  close(directory);
  errno = error;
  if (!node) return -1;
  node->lookups++;
  entry->ino = (uintptr_t)node;
  return 0;
}

static void reply_entry(fuse_req_t req, fuse_ino_t parent, const char *name) {
  struct fuse_entry_param entry;
  if (enter(parent, name, &entry) < 0) fail(req);
  else fuse_reply_entry(req, &entry);
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) { reply_entry(req, parent, name); }

static void do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count) {
  struct node *node = node_of(ino);
  if (ino != FUSE_ROOT_ID && (node->lookups -= count) == 0) {
    struct node **at = &nodes;
    while (*at != node) at = &(*at)->next;
    *at = node->next;
    free(node->handle);
    free(node);
  }
  fuse_reply_none(req);
}

static void reply_attributes(fuse_req_t req, int fd) {
  struct stat attributes;
  int result = fstat(fd, &attributes);
  int error = errno;
  close(fd);
  if (result < 0) fuse_reply_err(req, error);
  else fuse_reply_attr(req, &attributes, 0);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info) {
  (void)info;
  int fd = open_node(ino, O_RDONLY);
  if (fd < 0) fail(req);
  else reply_attributes(req, fd);
}

static void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int what, struct fuse_file_info *info) {
  (void)info;
  int fd = open_node(ino, what & FUSE_SET_ATTR_SIZE ? O_RDWR : O_RDONLY);
  if (fd < 0) {
    fail(req);
    return;
  }
  struct timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
  if (what & FUSE_SET_ATTR_ATIME) times[0] = to->st_atim;
  if (what & FUSE_SET_ATTR_MTIME) times[1] = to->st_mtim;
  if (what & FUSE_SET_ATTR_ATIME_NOW) times[0].tv_nsec = UTIME_NOW;
  if (what & FUSE_SET_ATTR_MTIME_NOW) times[1].tv_nsec = UTIME_NOW;
  uid_t user = what & FUSE_SET_ATTR_UID ? to->st_uid : (uid_t)-1;
  gid_t group = what & FUSE_SET_ATTR_GID ? to->st_gid : (gid_t)-1;
  if (((what & FUSE_SET_ATTR_SIZE) && ftruncate(fd, to->st_size) < 0) ||
      ((what & FUSE_SET_ATTR_MODE) && fchmod(fd, to->st_mode) < 0) || fchown(fd, user, group) < 0 ||
      futimens(fd, times) < 0)
    finish(req, fd, -1);
  else reply_attributes(req, fd);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info) {
  int fd = open_node(ino, O_RDONLY);
  if (fd < 0) {
    fail(req);
    return;
  }
  close(fd);
  info->direct_io = 1;
  fuse_reply_open(req, info);
}

static void do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info) {
  struct fuse_entry_param entry;
  int directory = open_node(parent, O_RDONLY);
  int fd = directory < 0 ? -1 : openat(directory, name, O_CREAT | O_CLOEXEC | (info->flags & (O_EXCL | O_TRUNC)) | O_RDWR, mode);
  int error = errno;
  if (directory >= 0) close(directory);
  if (fd >= 0) close(fd);
  errno = error;
  if (fd < 0 || enter(parent, name, &entry) < 0) {
    fail(req);
    return;
  }
  info->direct_io = 1;
  fuse_reply_create(req, &entry, info);
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info) {
  (void)info;
  char *data = malloc(size);
  int fd = open_node(ino, O_RDONLY);
  ssize_t count = fd < 0 ? -1 : pread(fd, data, size, offset);
  if (count < 0) finish(req, fd, -1);
  else {
    close(fd);
    fuse_reply_buf(req, data, count);
  }
  free(data);
}

static void do_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *info) {
  (void)info;
  int fd = open_node(ino, O_WRONLY);
  ssize_t count = fd < 0 ? -1 : pwrite(fd, data, size, offset);
  if (count < 0) {
    finish(req, fd, -1);
    return;
  }
  close(fd);
  fuse_reply_write(req, count);
}

static void do_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *info) {
  (void)data_only;
  (void)info;
  int fd = open_node(ino, O_RDONLY);
  finish(req, fd, fd < 0 ? -1 : fsync(fd));
}

static void do_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info) {
  (void)ino;
  (void)info;
  fuse_reply_err(req, 0);
}

static void do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info) {
  int fd = open_node(ino, O_RDONLY | O_DIRECTORY);
  if (fd < 0) {
    fail(req);
    return;
  }
  close(fd);
  fuse_reply_open(req, info);
}

static void do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info) {
  (void)info;
  int fd = open_node(ino, O_RDONLY | O_DIRECTORY);
  DIR *directory = fd < 0 ? NULL : fdopendir(fd);
  if (!directory) {
    finish(req, fd, -1);
    return;
  }
  if (offset > 0) seekdir(directory, offset);
  char *data = malloc(size);
  size_t used = 0;
  for (struct dirent *one; (one = readdir(directory));) {
    struct stat attributes = {.st_ino = one->d_ino, .st_mode = (mode_t)one->d_type << 12};
    size_t takes = fuse_add_direntry(req, data + used, size - used, one->d_name, &attributes, one->d_off);
    if (takes > size - used) break;
    used += takes;
  }
  closedir(directory);
  fuse_reply_buf(req, data, used);
  free(data);
}

static void do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) {
  int directory = open_node(parent, O_RDONLY);
  if (directory < 0 || mkdirat(directory, name, mode) < 0) {
    finish(req, directory, -1);
    return;
  }
  close(directory);
  reply_entry(req, parent, name);
}

static void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
  int directory = open_node(parent, O_RDONLY);
  finish(req, directory, directory < 0 ? -1 : unlinkat(directory, name, 0));
}

static void do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name) {
  int directory = open_node(parent, O_RDONLY);
  finish(req, directory, directory < 0 ? -1 : unlinkat(directory, name, AT_REMOVEDIR));
}

static void do_rename(fuse_req_t req, fuse_ino_t from, const char *name, fuse_ino_t to, const char *as, unsigned flags) {
  int source = open_node(from, O_RDONLY);
  int target = source < 0 ? -1 : open_node(to, O_RDONLY);
  int result = target < 0 ? -1 : renameat2(source, name, target, as, flags);
  int error = errno;
  if (target >= 0) close(target);
  errno = error;
  finish(req, source, result);
}

static void do_statfs(fuse_req_t req, fuse_ino_t ino) {
  (void)ino;
  struct statvfs space;
  if (fstatvfs(folder, &space) < 0) fail(req);
  else fuse_reply_statfs(req, &space);
}

static void do_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags) {
  int fd = open_node(ino, O_RDONLY);
  finish(req, fd, fd < 0 ? -1 : fsetxattr(fd, name, value, size, flags));
}

static void do_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name) {
  int fd = open_node(ino, O_RDONLY);
  finish(req, fd, fd < 0 ? -1 : fremovexattr(fd, name));
}

/** What getxattr(2) and listxattr(2) give: a size where nobody asks for more. */
static void reply_value(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size) {
  int fd = open_node(ino, O_RDONLY);
  char *value = malloc(size + 1);
  ssize_t length = fd < 0 ? -1 : name ? fgetxattr(fd, name, value, size) : flistxattr(fd, value, size);
  if (length < 0) finish(req, fd, -1);
  else {
    close(fd);
    if (size == 0) fuse_reply_xattr(req, length);
    else fuse_reply_buf(req, value, length);
  }
  free(value);
}

static void do_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size) { reply_value(req, ino, name, size); }
static void do_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size) { reply_value(req, ino, NULL, size); }

static const struct fuse_lowlevel_ops operations = {
    .lookup = do_lookup,
    .forget = do_forget,
    .getattr = do_getattr,
    .setattr = do_setattr,
    .open = do_open,
    .create = do_create,
    .read = do_read,
    .write = do_write,
    .flush = do_flush,
    .fsync = do_fsync,
    .fsyncdir = do_fsync,
    .opendir = do_opendir,
    .readdir = do_readdir,
    .mkdir = do_mkdir,
    .unlink = do_unlink,
    .rmdir = do_rmdir,
    .rename = do_rename,
    .statfs = do_statfs,
    .setxattr = do_setxattr,
    .getxattr = do_getxattr,
    .listxattr = do_listxattr,
    .removexattr = do_removexattr,
};

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: stale-mount FOLDER MOUNTPOINT\n");
    return 64;
  }
  folder = open(arguments[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) {
    perror(arguments[1]);
    return 1;
  }
  char *options[] = {arguments[0], "-o", "allow_other"};
  struct fuse_args args = FUSE_ARGS_INIT(3, options);
  struct fuse_session *session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
  if (!session || fuse_session_mount(session, arguments[2]) != 0) return 1;
  int result = fuse_session_loop(session);
  fuse_session_unmount(session);
  return result ? 1 : 0;
}
