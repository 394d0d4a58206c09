/*
 * Fencing and I/O: registration with epochs, renewal with deadlines on monotonic clocks, the check before each change, silent servers
 * fenced by a peer shard by shard, processes proven dead, and clients that take their opens to the other server meanwhile.
 * Invariants 1, 4 and 6. See README.md.
 */
#define SERVERS 2
#ifndef SHARDS
#define SHARDS 2
#endif
#ifndef OPENS
#define OPENS 2
#endif
#ifndef EPOCHS
#define EPOCHS 3
#endif
#ifndef VERSIONS
#define VERSIONS 3
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#include "shared.pml"

/* Ticks of the monotonic clocks. A clock that runs slow makes a deadline DRIFT ticks longer than it should be. */
#define LEASE 2
#define DRIFT 1
#define SETTLE 1
#define KERNEL 1             /* a call that the kernel has is on the volume within so many ticks, if its caller runs */
#ifdef NO_GUARD_MARGIN
#define MARGIN 0
#else
#define MARGIN 1
#endif

/* The server under suspicion, in full, and its peer: here a custodian and claimant whose own epoch nobody doubts. */
#define SUSPECT 0
#define PEER 1
/* Those who fence: the peer's sidecar, which watches, and another (of the suspect's pod, or a third), which proves deaths and finishes
 * what the first began. */
#define FENCERS 2
#define OUTSIDER 1

/* A file server process and its member in its sidecar. */
typedef Server {
  bit alive;
  bit stopped;               /* SIGSTOP: none of its threads runs */
  byte epoch;                /* 0: not registered */
  unsigned entering : 2;         /* shards that have yet to learn of its epoch */
  byte replaced;
  unsigned deadline : 4;         /* ticks until it must have stopped */
  unsigned renewal : 2;          /* a renewal: 0 none, 1 on its way, 2 carried out, 3 refused */
  unsigned renewed : 4;          /* ticks until the deadline that this renewal brings */
  unsigned holds : 2;            /* opens that it does I/O through, one bit each */
  unsigned asked : 3;            /* a reclaim: 0 none, o + 1 on its way */
  byte askedEpoch;
  unsigned answer : 3;           /* its outcome, 0: not carried out yet */
  /* the one pool thread */
  unsigned thread : 2;           /* 0 idle, 1 has passed its check, 2 its system call is with the kernel */
  unsigned through : 1;          /* the open */
  byte writer;               /* epoch under which it passed its check */
  bit interrupted;           /* stopped after its check, before its call */
  unsigned landing : 2;          /* ticks within which the call is on the volume */
  unsigned late : 2              /* changes that reached the volume after the open had gone to another */
};
Server server[1];
bit peerAlive = 1;
unsigned peerHolds : 2;      /* opens that the peer does I/O through */

/* What the watcher knows of the suspect: whether its counter is the one last seen, and ticks until that has been so for a lease. */
typedef Watch { bit seen; unsigned silence : 3; byte epoch };
Watch watch[1];

/* Fencing under way: step 0 none, 1.. the shards (settle), then waits, then the shards (fence), then the registry. */
typedef Fencing { unsigned step : 4; byte epoch; unsigned wait : 2; bit silent };
Fencing fencing[FENCERS];

byte faults = FAULTS;

#define RUNS(s) (server[s].alive && !server[s].stopped)
#define MAY_FENCE(w) (w == OUTSIDER || peerAlive)
#define HELD_BY_PEER(o) ((peerHolds >> (o)) & 1)
#define HOLDS(s, o) ((server[s].holds >> (o)) & 1)
#ifdef NO_GUARD_DEADLINE
#define IN_TIME(s) (true)
#else
#define IN_TIME(s) (server[s].deadline > 0)
#endif

/* What has to hold at the moment when a thread has passed its check. */
inline check_io(s, o) {
  assert(!((peerHolds >> o) & 1)); /* one_owner */
  assert(IS_VALID(SHARD(o), s, server[s].epoch) && IS_MINE(s, server[s].epoch)) /* fenced_does_nothing */
}

inline lets_go_of_everything(s) {
  server[s].epoch = 0;
  server[s].entering = 0;
  server[s].deadline = 0;
  server[s].renewal = 0;
  server[s].renewed = 0;
  server[s].holds = 0
}

inline select_open(s, o) {
  if
  :: HOLDS(s, 0) -> o = 0
#if OPENS > 1
  :: HOLDS(s, 1) -> o = 1
#endif
  fi
}

/* Once the registry says fenced, no shard takes anything of it any more */
inline all_shards_know(t) {
  assert(!IS_VALID(0, t, registry[t].epoch)); /* fenced_everywhere */
#if SHARDS > 1
  assert(!IS_VALID(1, t, registry[t].epoch)); /* fenced_everywhere */
#endif
}

inline forgets(w) {
  watch[0].seen = 0;
  watch[0].epoch = 0;
  watch[0].silence = 0;
  fencing[w].step = 0;
  fencing[w].epoch = 0;
  fencing[w].wait = 0;
  fencing[w].silent = 0
}

inline count_down(x) {
  if
  :: x > 0 -> x--
  :: else
  fi
}

proctype FileServer(byte s) {
  byte o;
  bit ok;
  do
  /* registration.ts, #enter: the next epoch; then every shard learns of it; only then it serves */
  :: atomic { RUNS(s) && server[s].epoch == 0 && server[s].thread == 0 && highestEpoch < EPOCHS ->
      script_register(s, server[s].epoch, server[s].replaced);
      server[s].renewed = LEASE - MARGIN + DRIFT;
      printf("suspect: registers, epoch %d\n", server[s].epoch);
      server[s].renewal = 2;
      server[s].entering = SHARDS }
  :: d_step { RUNS(s) && server[s].entering > 0 ->
      server[s].entering--;
      printf("suspect: shard %d learns of its epoch\n", server[s].entering);
      script_enter(server[s].entering, s, server[s].epoch, server[s].replaced) }
  /* lease.ts, renew: the deadline counts from the sending */
  :: d_step { RUNS(s) && server[s].epoch > 0 && server[s].renewal == 0 ->
      printf("suspect: sends a renewal\n");
      server[s].renewal = 1;
      server[s].renewed = LEASE - MARGIN + DRIFT }
  :: d_step { RUNS(s) && server[s].entering == 0 && server[s].renewal == 2 ->
#ifdef NO_GUARD_DEADLINE_FROM_SENDING
      server[s].deadline = LEASE - MARGIN + DRIFT;
#else
      if
      :: server[s].renewed > server[s].deadline -> server[s].deadline = server[s].renewed
      :: else
      fi;
#endif
      printf("suspect: is renewed, %d ticks until its deadline\n", server[s].deadline);
      server[s].renewal = 0; server[s].renewed = 0 }
  :: d_step { RUNS(s) && server[s].renewal == 3 && server[s].thread != 1 ->
      printf("suspect: hears that it was fenced, and lets go of everything\n");
      lets_go_of_everything(s) }
  /* posix.ts: the deadline is checked last, right before the system call. Between the two only a stop comes. */
  :: atomic { RUNS(s) && server[s].thread == 0 && server[s].entering == 0 && server[s].holds > 0 && IN_TIME(s) ->
      select_open(s, o);
      d_step {
        printf("suspect: a thread passes its check for open %d, %d ticks before the deadline\n", o, server[s].deadline);
        check_io(s, o);
        server[s].thread = 1;
        server[s].through = o;
        server[s].writer = server[s].epoch;
        o = 0 } }
  :: d_step { RUNS(s) && server[s].thread == 1 ->
      printf("suspect: gives the change to the kernel\n");
      server[s].thread = 2; server[s].landing = KERNEL }
  /* ownership.ts, reclaim: a client whose open is not here comes. The call may be carried out late, or after a repetition. */
  :: atomic { RUNS(s) && server[s].epoch > 0 && server[s].entering == 0 && server[s].asked == 0 && server[s].deadline > 0 ->
      if
      :: !HOLDS(s, 0) -> server[s].asked = 1
#if OPENS > 1
      :: !HOLDS(s, 1) -> server[s].asked = 2
#endif
      fi;
      printf("suspect: sends a reclaim of open %d under epoch %d\n", server[s].asked - 1, server[s].epoch);
      server[s].askedEpoch = server[s].epoch }
  :: d_step { RUNS(s) && server[s].answer > 0 ->
      printf("suspect: its reclaim is answered %d\n", server[s].answer);
      if
      :: server[s].answer == GRANTED && server[s].askedEpoch == server[s].epoch && server[s].epoch > 0 ->
        server[s].holds = server[s].holds | (1 << (server[s].asked - 1))
      :: else
      fi;
      server[s].asked = 0; server[s].askedEpoch = 0; server[s].answer = 0 }
  od
}

/* What was sent is carried out whenever Redis gets it, whatever has become of its sender. */
proctype Redis(byte s) {
  do
  :: d_step { server[s].renewal == 1 ->
      if
      :: IS_MINE(s, server[s].epoch) ->
        printf("store: carries out the renewal\n");
        server[s].renewal = 2;
        watch[0].seen = 0
      :: else -> printf("store: refuses the renewal\n"); server[s].renewal = 3; server[s].renewed = 0
      fi }
  :: d_step { server[s].asked > 0 && server[s].answer == 0 ->
      script_reclaim(server[s].asked - 1, s, server[s].askedEpoch, server[s].answer);
      printf("store: carries out the reclaim of open %d under epoch %d: %d\n", server[s].asked - 1, server[s].askedEpoch, server[s].answer);
      assert(server[s].answer != GRANTED || IS_VALID(SHARD(server[s].asked - 1), s, server[s].askedEpoch)) } /* fenced_is_refused */
  /* the kernel, too, carries out what it has whatever has become of the caller */
  :: d_step { server[s].thread == 2 ->
      server[s].thread = 0;
      server[s].landing = 0;
      printf("kernel: the change through open %d, of epoch %d, is on the volume; the open is of server %d, epoch %d\n", server[s].through,
        server[s].writer, table[server[s].through].owner, table[server[s].through].epoch);
      if
      :: IS_OWNER(server[s].through, s, server[s].writer) -> skip
      :: else ->
        assert(server[s].interrupted); /* writes_settled: what was not interrupted is there before anybody else claims */
        server[s].late++;
        assert(server[s].late <= 1) /* at_most_one_late_change of a thread that was stopped */
      fi;
      server[s].interrupted = 0; server[s].writer = 0; server[s].through = 0 }
  od
}

/* silence.ts and fencer.ts of one watcher, about the suspect */
proctype Fencer(byte w) {
  bit began;
  do
  /* a look that shows the counter for the first time: silence counts from there */
  :: d_step { w != OUTSIDER && MAY_FENCE(w) && registry[SUSPECT].state == ACTIVE_SERVER && !watch[0].seen && fencing[w].step == 0 ->
      printf("fencer %d: sees the counter for the first time\n", w);
      watch[0].seen = 1;
      watch[0].epoch = registry[SUSPECT].epoch;
      watch[0].silence = LEASE }
#ifdef NO_GUARD_COUNTER
#define SILENT(w) (watch[0].epoch != 0 && watch[0].silence == 0)
#define UNCHANGED(w) (true)
#else
#define SILENT(w) (watch[0].seen && watch[0].epoch == registry[SUSPECT].epoch && watch[0].silence == 0)
#define UNCHANGED(w) (watch[0].seen)
#endif
  :: d_step { w != OUTSIDER && MAY_FENCE(w) && fencing[w].step == 0 && registry[SUSPECT].state == ACTIVE_SERVER && SILENT(w) ->
      script_fencing(SUSPECT, registry[SUSPECT].epoch, UNCHANGED(w), 1, began);
      printf("fencer %d: the suspect was silent for a lease, begins to fence: %d\n", w, began);
      if
      :: began ->
        fencing[w].epoch = registry[SUSPECT].epoch;
        fencing[w].step = 1;
        fencing[w].silent = 1
      :: else
      fi;
      watch[0].seen = 0; watch[0].epoch = 0; watch[0].silence = 0;
      began = 0 }
  /* death.ts: the kernel freed its lock file, so its last thread is gone, with its last call; nothing has to run out */
#ifdef NO_GUARD_DEATH
#define PROVEN_DEAD(SUSPECT) (!RUNS(SUSPECT) && registry[SUSPECT].state != NONE)
#else
#define PROVEN_DEAD(SUSPECT) (!server[SUSPECT].alive && server[SUSPECT].thread == 0)
#endif
  :: d_step { w == OUTSIDER && fencing[w].step == 0 && registry[SUSPECT].state == ACTIVE_SERVER && PROVEN_DEAD(SUSPECT) ->
      script_fencing(SUSPECT, registry[SUSPECT].epoch, true, 0, began);
      printf("fencer %d: the process is proven dead, fences it at once\n", w);
      fencing[w].epoch = registry[SUSPECT].epoch;
      fencing[w].step = SHARDS + 2;
      fencing[w].silent = 0;
      began = 0 }
  /* lease.ts: another began and may not have come to the end */
  :: d_step { MAY_FENCE(w) && fencing[w].step == 0 && registry[SUSPECT].state == FENCING ->
      fencing[w].epoch = registry[SUSPECT].epoch;
      printf("fencer %d: goes on with what another began\n", w);
      fencing[w].silent = registry[SUSPECT].silent;
      fencing[w].step = (registry[SUSPECT].silent -> 1 : SHARDS + 2) }
  /* one shard after the other, in two rounds */
  :: d_step { MAY_FENCE(w) && fencing[w].step >= 1 && fencing[w].step <= SHARDS ->
      script_fence(fencing[w].step - 1, SUSPECT, fencing[w].epoch, true);
      printf("fencer %d: fences epoch %d in shard %d, last writes settle\n", w, fencing[w].epoch, fencing[w].step - 1);
      fencing[w].step++;
      if
      :: fencing[w].step == SHARDS + 1 -> fencing[w].wait = SETTLE
      :: else
      fi }
  :: d_step { MAY_FENCE(w) && fencing[w].step == SHARDS + 1 && fencing[w].wait == 0 ->
      fencing[w].step++ }
  :: d_step { MAY_FENCE(w) && fencing[w].step >= SHARDS + 2 && fencing[w].step <= 2 * SHARDS + 1 ->
      script_fence(fencing[w].step - SHARDS - 2, SUSPECT, fencing[w].epoch, false);
      printf("fencer %d: epoch %d in shard %d has settled\n", w, fencing[w].epoch, fencing[w].step - SHARDS - 2);
      fencing[w].step++;
#ifdef NO_GUARD_ALL_SHARDS
      fencing[w].step = 2 * SHARDS + 2
#endif
      }
  :: d_step { MAY_FENCE(w) && fencing[w].step == 2 * SHARDS + 2 ->
      script_fenced(SUSPECT, fencing[w].epoch);
      printf("fencer %d: the registry says that epoch %d is fenced\n", w, fencing[w].epoch);
      if
      :: registry[SUSPECT].state == FENCED -> all_shards_know(SUSPECT)
      :: else
      fi;
      fencing[w].step = 0; fencing[w].epoch = 0; fencing[w].silent = 0 }
  od
}

/* Faults: processes are stopped, go on, and die; those who fence forget what they were at. */
proctype Faults(byte s) {
  do
  :: d_step { faults > 0 && RUNS(s) ->
      faults--;
      printf("suspect: is stopped\n");
      server[s].stopped = 1;
      server[s].late = 0;
      server[s].interrupted = server[s].interrupted || server[s].thread == 1 }
  :: d_step { server[s].stopped -> printf("suspect: goes on\n"); server[s].stopped = 0 }
  :: d_step { faults > 0 && server[s].alive ->
      faults--;
      printf("suspect: dies\n");
      lets_go_of_everything(s);
      server[s].alive = 0;
      server[s].stopped = 0;
      /* what had not been given to the kernel dies with the thread */
      if
      :: server[s].thread == 1 -> server[s].thread = 0; server[s].interrupted = 0; server[s].writer = 0; server[s].through = 0
      :: else
      fi }
  :: d_step { !server[s].alive && server[s].thread == 0 && highestEpoch < EPOCHS ->
      printf("suspect: its process is started again\n");
      server[s].alive = 1 }
  od
}

/* Time passes for all at once: who is between its check and its call does not let it, unless it is stopped. */
#define CAN_WAIT(s) ((server[s].thread != 1 || server[s].stopped) && (server[s].thread != 2 || server[s].landing > 0))
#define COUNTS (server[SUSPECT].deadline + server[SUSPECT].renewed + server[SUSPECT].landing + watch[0].silence \
  + fencing[0].wait + fencing[1].wait > 0)
proctype Time() {
  do
  :: d_step { CAN_WAIT(SUSPECT) && COUNTS ->
      printf("a tick passes\n");
      count_down(server[SUSPECT].deadline);
      count_down(server[SUSPECT].renewed);
      count_down(server[SUSPECT].landing);
      count_down(watch[0].silence);
      count_down(fencing[0].wait);
      count_down(fencing[1].wait) }
  od
}

/* The peer: clients come to it for their opens, and go from it; it may die, at any step of a fencing too. */
proctype Peer() {
  byte o, result;
  do
  :: atomic { peerAlive && (!HELD_BY_PEER(0) || !HELD_BY_PEER(OPENS - 1)) ->
      if
      :: !HELD_BY_PEER(0) -> o = 0
#if OPENS > 1
      :: !HELD_BY_PEER(1) -> o = 1
#endif
      fi;
      d_step {
        script_reclaim(o, PEER, registry[PEER].epoch, result);
        printf("peer: a client wants open %d back: %d\n", o, result);
        if
        :: result == GRANTED -> peerHolds = peerHolds | (1 << o)
        :: else
        fi;
        o = 0; result = 0 } }
  :: atomic { peerAlive && peerHolds > 0 && table[0].version < VERSIONS && table[OPENS - 1].version < VERSIONS ->
      if
      :: HELD_BY_PEER(0) -> o = 0
#if OPENS > 1
      :: HELD_BY_PEER(1) -> o = 1
#endif
      fi;
      d_step {
        printf("peer: releases open %d\n", o);
        peerHolds = peerHolds & ~(1 << o);
        set_owner(o, NOBODY, 0, RELEASED);
        o = 0 } }
  :: d_step { peerAlive && faults > 0 ->
      printf("peer: dies\n");
      faults--; peerAlive = 0; peerHolds = 0; forgets(0) }
  od
}

init {
  byte e, r;
  atomic {
    server[SUSPECT].alive = 1;
    script_register(SUSPECT, e, r);
    server[SUSPECT].epoch = e;
    script_enter(0, SUSPECT, e, 0);
    script_enter(SHARDS - 1, SUSPECT, e, 0);
    server[SUSPECT].deadline = LEASE - MARGIN + DRIFT;
    script_register(PEER, e, r);
    script_enter(0, PEER, e, 0);
    script_enter(SHARDS - 1, PEER, e, 0);
    /* the suspect has opened everything */
    e = server[SUSPECT].epoch;
    set_owner(0, SUSPECT, e, ACTIVE);
#if OPENS > 1
    set_owner(1, SUSPECT, e, ACTIVE);
#endif
    server[SUSPECT].holds = (1 << OPENS) - 1;
    e = 0; r = 0;
    run FileServer(SUSPECT);
    run Redis(SUSPECT);
    run Faults(SUSPECT);
    run Peer();
    run Fencer(0);
    run Fencer(OUTSIDER);
    run Time()
  }
}
