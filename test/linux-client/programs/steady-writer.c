// steady-writer FILE: locks a range of FILE and writes one tagged block after another, each made stable before the next, until it gets
// SIGTERM; then reads them all back and lets the range go. Says how long the longest pauses were. The range is far behind the blocks.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_BYTES = 4096, TOLD_MS = 150 };
static const off_t LOCKED_FROM = 1 << 30;

static volatile sig_atomic_t is_over;
static void end(int signal) { (void)signal; is_over = 1; }

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void fill(uint64_t *block, uint64_t number) {
  for (size_t i = 0; i < BLOCK_BYTES / sizeof *block; i++) block[i] = number * 1000003 + i;
}

static int lock(int file, short type) {
  struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_start = LOCKED_FROM, .l_len = 16 };
  return fcntl(file, F_SETLK, &range);
}

int main(int count, char **values) {
  if (count != 2) return fprintf(stderr, "usage: steady-writer FILE\n"), 2;
  setvbuf(stdout, NULL, _IONBF, 0);
  const char *path = values[1], *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  signal(SIGTERM, end);
  int file = open(path, O_RDWR | O_CREAT, 0600);
  if (file < 0 || lock(file, F_WRLCK) != 0) return printf("WRITER %s cannot begin: %s\n", name, strerror(errno)), 1;
  uint64_t block[BLOCK_BYTES / sizeof(uint64_t)], found[BLOCK_BYTES / sizeof(uint64_t)];
  unsigned long written = 0, errors = 0, wrong = 0;
  double last_ms = now_ms(), told_ms = last_ms;
  while (!is_over) {
    fill(block, written);
    const char *doing = "writing";
    int is_stable = pwrite(file, block, BLOCK_BYTES, (off_t)written * BLOCK_BYTES) == BLOCK_BYTES;
    if (is_stable) {
      doing = "fsync after";
      is_stable = fsync(file) == 0;
    }
    if (!is_stable) {
      errors++;
      printf("WRITER %s %s block %lu: %s\n", name, doing, written, strerror(errno));
      usleep(100000);
    } else {
      written++;
    }
    double at_ms = now_ms();
    if (at_ms - last_ms > TOLD_MS) printf("WRITER %s paused %.0f ms at block %lu\n", name, at_ms - last_ms, written);
    if (at_ms - told_ms > 500) printf("WRITER %s wrote %lu\n", name, written), told_ms = at_ms;
    last_ms = at_ms;
  }
  for (unsigned long i = 0; i < written; i++) {
    fill(block, i);
    if (pread(file, found, BLOCK_BYTES, (off_t)i * BLOCK_BYTES) != BLOCK_BYTES || memcmp(block, found, BLOCK_BYTES) != 0) wrong++;
  }
  int unlocked = lock(file, F_UNLCK) == 0;
  printf("WRITER %s ended: written=%lu errors=%lu wrong=%lu unlocked=%d\n", name, written, errors, wrong, unlocked);
  return errors + wrong > 0 || !unlocked || close(file) != 0;
}
