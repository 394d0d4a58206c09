/*
 * The store is out of a server's reach: it goes on only while every peer that its last renewal named has promised not to fence it.
 * Invariants 1 and 4. See README.md. Time is counted in ticks, as in fencing.pml.
 */
#define SERVERS 1
#define SHARDS 1
#define OPENS 1
#define EPOCHS 2
#include "shared.pml"

#define LEASE 2
#define EXTENSION 3          /* maxExtension: all promises together */
#define SUSPECT 0
#define PEERS 2              /* those that the last renewal named */
#define NEWCOMER 2           /* one that came later, or the operator */
#ifndef FAULTS
#define FAULTS 2
#endif

/* What the suspect knows. Its one thread writes whenever it may. */
byte deadline;
byte left;                   /* ticks until the latest time that promises may extend to */
byte asking;                 /* ticks until the time that it asks for; 0: it asks nobody */
byte yes;                    /* peers that promised that, one bit each */
bit knows;                   /* it has heard of the newcomer, and asks it too */

/* What the registry says of it. */
bit recorded;                /* it has heard of the newcomer, which fences after a lease then */

/* What those who fence know. */
typedef Fencer {
  bit seen;                  /* the counter is the one last seen */
  byte silence;              /* ticks until that has been so for long enough */
  byte promise;              /* ticks for which it has given its word */
  bit sent                   /* 'fencing' is on its way to the store, with the counter that was seen; also of a predecessor */
};
Fencer fencer[3];
byte faults = FAULTS;

#ifdef NO_GUARD_PROMISE_KEPT
#define HELD_BACK(w) (false)
#else
#define HELD_BACK(w) (fencer[w].promise > 0)
#endif
#ifdef NO_GUARD_NEWCOMERS_WAIT
#define SILENCE(w) (LEASE)
#else
#define SILENCE(w) (LEASE + (w == NEWCOMER && !recorded -> EXTENSION : 0))
#endif
/* A promise lasts a lease: whoever was started again has forgotten it when it has seen anybody silent for so long. */
#ifdef NO_GUARD_A_LEASE_AT_MOST
#define LONGEST 15
#else
#define LONGEST LEASE
#endif
#ifdef NO_GUARD_MAX_EXTENSION
#define MOST LONGEST
#else
#define MOST (left < LONGEST -> left : LONGEST)
#endif
#define ALL (knows -> 7 : 3)
#ifdef NO_GUARD_EVERY_PEER
#define ALL_PROMISED (yes != 0)
#else
#define ALL_PROMISED (yes == ALL)
#endif
proctype Suspect() {
  do
  :: d_step { deadline > 0 ->
      assert(registry[SUSPECT].state == ACTIVE_SERVER && IS_VALID(0, SUSPECT, 1)) } /* fenced_does_nothing */
  /* A renewal, which says whom the suspect has heard of before. Its answer names everybody; it may be lost. Late ones: fencing.pml. */
  :: atomic { IS_MINE(SUSPECT, 1) && faults > 0 && (deadline < LEASE || asking > 0 || !knows || !recorded) ->
      faults--;
      d_step {
        fencer[0].seen = 0; fencer[1].seen = 0; fencer[2].seen = 0;
        /* what was sent names another counter */
        fencer[0].sent = 0; fencer[1].sent = 0; fencer[2].sent = 0;
#ifdef NO_GUARD_HEARD
        recorded = 1
#else
        recorded = knows
#endif
      };
      if
      :: deadline > 0 ->
        d_step {
          printf("suspect: is renewed, and hears of the newcomer\n");
          deadline = LEASE;
          left = LEASE + EXTENSION;
          knows = 1;
          asking = 0;
          yes = 0 }
      :: printf("suspect: is renewed, and does not hear of it\n")
      fi }
  /* the store is away: it asks all peers */
  :: d_step { deadline > 0 && asking == 0 && MOST > deadline ->
      asking = MOST;
      yes = 0;
      printf("suspect: asks its peers for a promise for %d ticks from now\n", asking) }
#ifdef NO_GUARD_PROMISE
  :: d_step { deadline > 0 && asking > 0 ->
#else
  :: d_step { deadline > 0 && asking > 0 && ALL_PROMISED ->
#endif
      printf("suspect: goes on for %d ticks\n", asking);
      deadline = asking;
      asking = 0;
      yes = 0 }
  :: d_step { asking > 0 -> printf("suspect: gives up asking\n"); asking = 0; yes = 0 }
  od
}

proctype Other(byte w) {
  bit began;
  do
  /* a promise is given before the deadline is extended by it, and counts from when it was asked for */
  :: d_step { (w < PEERS || knows) && asking > 0 && !((yes >> w) & 1) && registry[SUSPECT].state == ACTIVE_SERVER ->
      printf("peer %d: promises not to fence for %d ticks\n", w, asking);
      yes = yes | (1 << w);
      if
      :: fencer[w].promise < asking -> fencer[w].promise = asking
      :: else
      fi }
  :: d_step { registry[SUSPECT].state == ACTIVE_SERVER && !fencer[w].seen ->
      printf("fencer %d: sees the counter for the first time\n", w);
      fencer[w].seen = 1;
      fencer[w].silence = SILENCE(w) }
  :: d_step { (registry[SUSPECT].state == ACTIVE_SERVER && fencer[w].seen && fencer[w].silence == 0 && !HELD_BACK(w)
      && !fencer[w].sent) ->
      printf("fencer %d: sends the store that it fences the suspect\n", w);
      fencer[w].sent = 1 }
  :: d_step { fencer[w].sent && registry[SUSPECT].state == ACTIVE_SERVER ->
      printf("store: carries out that fencer %d fences the suspect\n", w);
      fencer[w].sent = 0;
      script_fencing(SUSPECT, 1, true, 1, began);
      script_fence(0, SUSPECT, 1, true);
      began = 0 }
  :: d_step { w < PEERS && faults > 0 && registry[SUSPECT].state == ACTIVE_SERVER ->
      printf("peer %d: its sidecar is started again\n", w);
      faults--;
      fencer[w].seen = 0;
      fencer[w].silence = 0;
      fencer[w].promise = 0 }
  od
}

inline count_down(x) {
  if
  :: x > 0 -> x--
  :: else
  fi
}

proctype Time() {
  byte i;
  do
  :: d_step { registry[SUSPECT].state == ACTIVE_SERVER ->
      printf("a tick passes\n");
      count_down(deadline);
      count_down(left);
      count_down(asking);
      i = 0;
      do
      :: i < 3 -> count_down(fencer[i].silence); count_down(fencer[i].promise); i++
      :: else -> break
      od;
      i = 0;
      if
      :: asking == 0 -> yes = 0
      :: else
      fi }
  od
}

init {
  byte e, r;
  atomic {
    script_register(SUSPECT, e, r);
    script_enter(0, SUSPECT, e, 0);
    e = 0; r = 0;
    deadline = LEASE;
    left = LEASE + EXTENSION;
    run Suspect();
    run Other(0); run Other(1); run Other(NEWCOMER);
    run Time()
  }
}
