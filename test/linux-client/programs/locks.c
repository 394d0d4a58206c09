// locks HERE THERE ROUNDS: locks of a file that is reached on two ways, HERE and THERE, one in each of two folders: that they exclude,
// wait, are told of, and go with their process. On one file system (HERE and THERE the same) all of it has to hold as well.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SEES_NOTHING_MS = 400, WITHIN_MS = 20000, WORKERS_A_SIDE = 2 };

struct counter { long count, holder; };

static char here[512], there[512];

static void fail(const char *what) {
  printf("locks: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static int open_file(const char *path) {
  int file = open(path, O_RDWR | O_CREAT, 0600);
  if (file < 0) fail(path);
  return file;
}

static int lock(int file, int command, short type, off_t start, off_t length) {
  struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };
  return fcntl(file, command, &range);
}

static void must(int result, const char *what) {
  if (result != 0) fail(what);
}

// SMB's refusal is EACCES to this kernel, also where POSIX says EAGAIN or EWOULDBLOCK.
static void must_not(int result, const char *what) {
  if (result == 0 || (errno != EACCES && errno != EAGAIN)) fail(what);
}

// Lock, read, add one, write: nobody else may come between.
static void count_up(int file, int rounds, int whole_file) {
  for (int i = 0; i < rounds; i++) {
    struct counter counter = { 0, 0 };
    must(whole_file ? flock(file, LOCK_EX) : lock(file, F_SETLKW, F_WRLCK, 0, sizeof counter), "waiting for the lock");
    if (pread(file, &counter, sizeof counter, 0) < 0) fail("reading the count");
    if (counter.holder != 0) fail("two hold the lock");
    counter.holder = getpid();
    if (pwrite(file, &counter, sizeof counter, 0) != sizeof counter) fail("writing the count");
    struct counter again;
    if (pread(file, &again, sizeof again, 0) != sizeof again || again.holder != getpid()) fail("another wrote under the lock");
    counter.count++;
    counter.holder = 0;
    if (pwrite(file, &counter, sizeof counter, 0) != sizeof counter || fsync(file) != 0) fail("writing the count");
    must(whole_file ? flock(file, LOCK_UN) : lock(file, F_SETLK, F_UNLCK, 0, sizeof counter), "unlocking");
  }
  exit(0);
}

static void children_end_well(int children) {
  while (children-- > 0) {
    int status;
    if (wait(&status) < 0 || status != 0) fail("a child");
  }
}

// A process that opens the file, and begins when `start` is closed. They open it one after the other: Linux 6.1 applies the answer to an
// open and the break that follows it in any order, and may keep locks to itself that the server does not know of, smbd neither.
static void start_worker(const char *path, int rounds, int whole_file, const int start[2]) {
  int opened[2];
  if (pipe(opened) != 0) fail("pipe");
  if (fork() == 0) {
    char said = 'o';
    int file = open_file(path);
    close(start[1]);
    if (write(opened[1], &said, 1) != 1 || read(start[0], &said, 1) != 0) _exit(1);
    count_up(file, rounds, whole_file);
  }
  char said;
  if (read(opened[0], &said, 1) != 1) fail("a worker");
  close(opened[0]);
  close(opened[1]);
}

static void exclude(int rounds, int whole_file) {
  int start[2];
  unlink(here);
  close(open_file(here));
  if (pipe(start) != 0) fail("pipe");
  for (int i = 0; i < WORKERS_A_SIDE; i++) {
    start_worker(here, rounds, whole_file, start);
    start_worker(there, rounds, whole_file, start);
  }
  close(start[0]);
  close(start[1]);
  children_end_well(2 * WORKERS_A_SIDE);
  struct counter counter;
  int file = open_file(there);
  if (pread(file, &counter, sizeof counter, 0) != sizeof counter) fail("reading the count");
  printf("locks: %s counted to %ld\n", whole_file ? "flock" : "fcntl", counter.count);
  if (counter.count != 2L * WORKERS_A_SIDE * rounds) fail("the count");
  close(file);
}

// Another process asks on the other way. Answers 0 when it was granted, else errno.
static int ask_there(int command, short type, off_t start, off_t length) {
  pid_t child = fork();
  if (child == 0) _exit(lock(open_file(there), command, type, start, length) == 0 ? 0 : errno);
  int status;
  waitpid(child, &status, 0);
  errno = WEXITSTATUS(status);
  return errno == 0 ? 0 : -1;
}

static void conflict(void) {
  int file = open_file(here);
  must(lock(file, F_SETLK, F_WRLCK, 100, 50), "locking 100 to 150");
  must_not(ask_there(F_SETLK, F_WRLCK, 149, 10), "a range that overlaps was granted");
  must_not(ask_there(F_SETLK, F_RDLCK, 0, 101), "a shared range that overlaps was granted");
  must(ask_there(F_SETLK, F_WRLCK, 150, 50), "a range beside it was refused");
  must(ask_there(F_SETLK, F_WRLCK, 0, 100), "a range before it was refused");
  int other = open_file(there);
  struct flock found = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 120, .l_len = 1 };
  pid_t child = fork();
  if (child == 0) _exit(fcntl(other, F_GETLK, &found) != 0 || found.l_type == F_UNLCK);
  children_end_well(1);
  close(other);
  must(lock(file, F_SETLK, F_UNLCK, 100, 50), "unlocking");
  must(ask_there(F_SETLK, F_WRLCK, 100, 50), "what was unlocked is refused");
  must(lock(file, F_SETLK, F_RDLCK, 100, 50), "a shared lock");
  must(ask_there(F_SETLK, F_RDLCK, 100, 50), "a second shared lock");
  must_not(ask_there(F_SETLK, F_WRLCK, 100, 50), "an exclusive lock beside a shared one was granted");
  close(file);
  must(ask_there(F_SETLK, F_WRLCK, 100, 50), "what was closed is still locked");
}

// Starts a process that waits for the lock on the other way, and writes into the pipe when it has it.
static int waiter(void) {
  int ends[2];
  if (pipe(ends) != 0) fail("pipe");
  if (fork() == 0) {
    close(ends[0]);
    int file = open_file(there);
    if (write(ends[1], "w", 1) != 1) _exit(1);
    if (lock(file, F_SETLKW, F_WRLCK, 0, 10) != 0) _exit(1);
    _exit(write(ends[1], "g", 1) == 1 ? 0 : 1);
  }
  close(ends[1]);
  char said;
  if (read(ends[0], &said, 1) != 1) fail("the waiter");
  if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) fail("pipe");
  return ends[0];
}

static int granted_within(int pipe_end, double limit_ms) {
  char said;
  for (double until = now_ms() + limit_ms; now_ms() < until; usleep(5000))
    if (read(pipe_end, &said, 1) == 1) return 1;
  return 0;
}

static void wait_for_unlock(void) {
  int file = open_file(here);
  must(lock(file, F_SETLK, F_WRLCK, 0, 10), "locking");
  int pipe_end = waiter();
  if (granted_within(pipe_end, SEES_NOTHING_MS)) fail("granted while it is locked");
  double unlocked_ms = now_ms();
  must(lock(file, F_SETLK, F_UNLCK, 0, 10), "unlocking");
  if (!granted_within(pipe_end, WITHIN_MS)) fail("not granted after it was unlocked");
  printf("locks: granted %.0f ms after it was unlocked\n", now_ms() - unlocked_ms);
  children_end_well(1);
  close(pipe_end);
  close(file);
}

static void wait_for_the_dead(void) {
  int ends[2];
  if (pipe(ends) != 0) fail("pipe");
  pid_t holder = fork();
  if (holder == 0) {
    must(lock(open_file(here), F_SETLK, F_WRLCK, 0, 10), "locking");
    if (write(ends[1], "l", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char said;
  if (read(ends[0], &said, 1) != 1) fail("the holder");
  int pipe_end = waiter();
  if (granted_within(pipe_end, SEES_NOTHING_MS)) fail("granted while its holder lives");
  double killed_ms = now_ms();
  kill(holder, SIGKILL);
  if (!granted_within(pipe_end, WITHIN_MS)) fail("not granted after its holder died");
  printf("locks: granted %.0f ms after its holder was killed\n", now_ms() - killed_ms);
  waitpid(holder, NULL, 0);
  children_end_well(1);
  close(pipe_end);
}

int main(int count, char **values) {
  if (count != 4) return fprintf(stderr, "usage: locks HERE THERE ROUNDS\n"), 2;
  setvbuf(stdout, NULL, _IONBF, 0);
  snprintf(here, sizeof here, "%s/locked", values[1]);
  snprintf(there, sizeof there, "%s/locked", values[2]);
  exclude(atoi(values[3]), 0);
  exclude(atoi(values[3]), 1);
  conflict();
  wait_for_unlock();
  wait_for_the_dead();
  unlink(here);
  return 0;
}
