// random-io FILE SEED OPERATIONS COPY: reads, writes, maps, truncates and punches a file at random, and compares what it reads with what
// it keeps in memory, as fsx does. In the end COPY is what the file has to hold. The same seed does the same again.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_BYTES = 256 * 1024, MOST_AT_ONCE = 48 * 1024, LOGGED = 40, LOG_WIDTH = 80 };

static unsigned char expected[MOST_BYTES], buffer[MOST_BYTES];
static size_t size;
static int file;
static const char *path;
static uint64_t state;
static char history[LOGGED][LOG_WIDTH];
static unsigned long operation;

static uint64_t next_random(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static size_t below(size_t limit) { return limit == 0 ? 0 : next_random() % limit; }

static void note(const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(history[operation % LOGGED], LOG_WIDTH, format, values);
  va_end(values);
}

static void fail(const char *what) {
  printf("random-io: %s: %s; the last operations:\n", what, strerror(errno));
  for (unsigned long i = operation < LOGGED ? 0 : operation - LOGGED + 1; i <= operation; i++)
    printf("  %lu %s\n", i, history[i % LOGGED]);
  exit(1);
}

static void compare(const unsigned char *found, size_t offset, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (found[i] == expected[offset + i]) continue;
    errno = 0;
    printf("random-io: byte %zu is %02x and should be %02x\n", offset + i, found[i], expected[offset + i]);
    fail("wrong data");
  }
}

static void fill(unsigned char *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) bytes[i] = (unsigned char)next_random();
}

static void read_some(void) {
  size_t offset = below(size), length = 1 + below(MOST_AT_ONCE);
  note("read %zu at %zu of %zu", length, offset, size);
  ssize_t got = pread(file, buffer, length, (off_t)offset);
  size_t due = offset + length > size ? size - offset : length;
  if (got < 0 || (size_t)got != due) fail("read");
  compare(buffer, offset, due);
}

static void write_some(void) {
  size_t length = 1 + below(MOST_AT_ONCE), offset = below(MOST_BYTES - length);
  note("write %zu at %zu of %zu", length, offset, size);
  fill(expected + offset, length);
  if (pwrite(file, expected + offset, length, (off_t)offset) != (ssize_t)length) fail("write");
  if (offset + length > size) size = offset + length;
}

static void map_some(int writes) {
  if (size == 0) return;
  long page = sysconf(_SC_PAGESIZE);
  size_t offset = below(size), length = 1 + below(size - offset < MOST_AT_ONCE ? size - offset : MOST_AT_ONCE);
  size_t start = offset - offset % (size_t)page;
  note("map to %s %zu at %zu of %zu", writes ? "write" : "read", length, offset, size);
  unsigned char *map = mmap(NULL, offset + length - start, PROT_READ | (writes ? PROT_WRITE : 0), MAP_SHARED, file, (off_t)start);
  if (map == MAP_FAILED) fail("mmap");
  if (writes) {
    fill(expected + offset, length);
    memcpy(map + (offset - start), expected + offset, length);
    if (below(2) && msync(map, offset + length - start, MS_SYNC) != 0) fail("msync");
  } else {
    compare(map + (offset - start), offset, length);
  }
  if (munmap(map, offset + length - start) != 0) fail("munmap");
}

static void truncate_to_some(void) {
  size_t to = below(MOST_BYTES);
  note("truncate %zu to %zu", size, to);
  if (ftruncate(file, (off_t)to) != 0) fail("ftruncate");
  if (to < size) memset(expected + to, 0, size - to);
  size = to;
}

static void punch(void) {
  if (size == 0) return;
  size_t offset = below(size), length = 1 + below(size - offset);
  note("punch %zu at %zu of %zu", length, offset, size);
  if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) != 0) fail("fallocate");
  memset(expected + offset, 0, length);
}

static void sync_file(void) {
  note("fsync");
  if (fsync(file) != 0) fail("fsync");
}

static void forget(void) {
  note("drop what is cached");
  if (fsync(file) != 0 || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) != 0) fail("fadvise");
}

static void open_again(void) {
  note("close and open");
  if (close(file) != 0) fail("close");
  file = open(path, O_RDWR);
  if (file < 0) fail("open");
}

static void check_size(void) {
  struct stat found;
  note("stat, of %zu", size);
  if (fstat(file, &found) != 0 || (size_t)found.st_size != size) fail("the size");
}

int main(int count, char **values) {
  if (count != 5) return fprintf(stderr, "usage: random-io FILE SEED OPERATIONS COPY\n"), 2;
  path = values[1];
  state = strtoull(values[2], NULL, 10) * 2654435761u + 88172645463325252ull;
  unsigned long operations = strtoul(values[3], NULL, 10);
  printf("random-io: seed %s, %lu operations\n", values[2], operations);
  file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (file < 0) fail("open");
  for (operation = 0; operation < operations; operation++) {
    switch (below(20)) {
      case 0: case 1: case 2: case 3: read_some(); break;
      case 4: case 5: case 6: case 7: write_some(); break;
      case 8: case 9: case 10: map_some(0); break;
      case 11: case 12: case 13: map_some(1); break;
      case 14: truncate_to_some(); break;
      case 15: punch(); break;
      case 16: sync_file(); break;
      case 17: forget(); break;
      case 18: open_again(); break;
      default: check_size();
    }
  }
  if (close(file) != 0) fail("close");
  file = open(path, O_RDONLY);
  if (file < 0 || pread(file, buffer, MOST_BYTES, 0) != (ssize_t)size) fail("reading it whole");
  compare(buffer, 0, size);
  int copy = open(values[4], O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (copy < 0 || write(copy, expected, size) != (ssize_t)size || close(copy) != 0) fail("the copy");
  return 0;
}
