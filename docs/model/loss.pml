/*
 * Loss of the store's data: Redis comes back as another process, with everything, empty, or as it was a while ago. Owners and
 * custodians put their opens back before anybody is granted anything; whoever is past its deadline puts nothing back.
 * Invariants 1, 2, 4 and 8. See README.md.
 *
 * Time is left to fencing.pml: "serves" is 0 once a lease ran out without a renewal; the grace period of a lease has passed when no
 * server that has put nothing back serves any more.
 */
#define SERVERS 2
#define SHARDS 1
#define OPENS 1
#define MINE 0
#ifndef EPOCHS
#define EPOCHS 4
#endif
#ifndef FAULTS
#define FAULTS 3
#endif
#ifndef VERSIONS
#define VERSIONS 3
#endif
#define AHEAD 1              /* a store that lost data goes on so far above the highest epoch that is reported (4096) */
#include "shared.pml"

typedef Server {
  bit alive;
  bit serves;                /* before its deadline */
  byte epoch;
  bit holds;                 /* it does I/O through the open */
  byte version;              /* as it remembers it */
  byte kept;                 /* custodian: version of the orphan; 0: it keeps nothing */
  byte keptOwner;
  byte keptEpoch;
  byte redis;                  /* the Redis process that its scripts are for */
  byte seen;                 /* the highest epoch that its sidecar has seen in the registry */
  bit back;                  /* it has put its state back there */
  bit sent                   /* what puts its state back is on its way there */
};
Server server[SERVERS];

byte redis = 1;                /* the Redis process: its run_id */
byte openedUnder = 1;        /* the one under which the shard was opened (hf:{c:S}:store) */
/* The copy that the store may go back to. */
RegisteredServer oldRegistry[SERVERS];
FenceRow oldFences[SHARDS];
OpenRecord oldTable[OPENS];
byte oldHighest;
bit copied;
bit lost;
byte faults = FAULTS;

bit granted;                 /* the client was told that it has its open */

#define SERVES(s) (server[s].alive && server[s].epoch > 0 && server[s].serves)
#define OTHER(s) (1 - (s))
/* The scripts carry the run_id in their text, and the shard has to have been opened under it. */
#ifdef NO_GUARD_RUN_ID
#define IS_OPEN(s) (true)
#else
#define IS_OPEN(s) (openedUnder == redis && server[s].redis == redis)
#endif
#ifdef NO_GUARD_REGISTERED_WHEN_OPEN
#define MAY_REGISTER(s) (server[s].redis == redis)
#else
#define MAY_REGISTER(s) IS_OPEN(s)
#endif
/* Somebody is there who remembers the open: losing the store then loses nothing. */
#define REMEMBERS(s) (SERVES(s) && (server[s].holds || server[s].kept > 0))
#define IS_BACK(s) (server[s].back && server[s].redis == redis)
/* Past its deadline, under a process that it has not put its state back to: whoever fenced it may be forgotten there. */
#ifdef NO_GUARD_PAST_DEADLINE
#define TOO_LATE(s) (false)
#else
#define TOO_LATE(s) (!server[s].serves && !IS_BACK(s))
#endif
/* The store went back to a time before this server registered. */
#ifdef NO_GUARD_OLDER_EPOCH
#define IS_OLDER(s) (false)
#else
#define IS_OLDER(s) (registry[s].epoch < server[s].epoch)
#endif
/* The shard was opened without it: what it had may be somebody else's by now. */
#define WAS_LEFT_OUT (openedUnder == redis)
/* restore.lua looks, too: between the decision to put back and its script the process may have been stopped. */
#ifdef NO_GUARD_WHILE_CLOSED
#define COMES_LATE (false)
#else
#define COMES_LATE WAS_LEFT_OUT
#endif
/* putting-back.ts waits for a lease: by then whoever has put nothing back does not serve any more. */
#ifdef NO_GUARD_GRACE
#define GRACE_OVER (true)
#else
#define GRACE_OVER ((IS_BACK(0) || !SERVES(0)) && (IS_BACK(1) || !SERVES(1)))
#endif
#define HAS_REPORTED(s) (registry[s].state == NONE || registry[s].state == FENCED || (IS_BACK(s) && IS_MINE(s, server[s].epoch)))

inline forget_server(s) {
  server[s].epoch = 0; server[s].serves = 0; server[s].holds = 0; server[s].version = 0
}

/* restore.lua: the higher ownership version wins */
inline script_restore(srv, ident, remembered) {
  if
#ifdef NO_GUARD_VERSION_WINS
  :: true ->
#else
  :: table[MINE].state == ABSENT || remembered > table[MINE].version ->
#endif
    table[MINE].state = (srv == NOBODY -> RELEASED : ACTIVE); table[MINE].owner = srv; table[MINE].epoch = ident; table[MINE].version = remembered
  :: else
  fi
}

/* a store that knows less than what a server reports goes on above it */
inline reported(known) {
  if
  :: highestEpoch < known -> highestEpoch = known + AHEAD
  :: else
  fi
}

/* What the sidecar keeps as a custodian: the orphan, and that its owner was fenced. */
inline put_back_custody(s) {
  if
  :: server[s].kept > 0 ->
    if
    :: server[s].keptOwner == NOBODY ->
#ifndef NO_GUARD_RELEASED_CUSTODY
      script_restore(NOBODY, 0, server[s].kept);
#endif
      skip
    :: else ->
#ifndef NO_GUARD_CUSTODY
      reported(server[s].keptEpoch);
      script_fence(0, server[s].keptOwner, server[s].keptEpoch, false);
      if
      :: registry[server[s].keptOwner].state != NONE && registry[server[s].keptOwner].epoch == server[s].keptEpoch ->
        registry[server[s].keptOwner].state = FENCED
      :: else
      fi;
      script_restore(server[s].keptOwner, server[s].keptEpoch, server[s].kept);
#endif
      skip
    fi
  :: else
  fi
}

inline forget_custody(s) {
  server[s].kept = 0; server[s].keptOwner = 0; server[s].keptEpoch = 0
}

proctype FileServer(byte s) {
  byte other, result;
  do
  /* registry.lua, 'register': only while the shard is open, so that whoever lives has said which epoch it has */
  :: d_step { server[s].alive && server[s].epoch == 0 && MAY_REGISTER(s) && server[s].back && highestEpoch < EPOCHS ->
#ifndef NO_GUARD_EPOCHS_ABOVE
      if
      :: server[s].seen > 0 -> reported(server[s].seen)
      :: else
      fi;
#endif
      script_register(s, server[s].epoch, other);
      script_enter(0, s, server[s].epoch, other);
      printf("server %d: registers, epoch %d\n", s, server[s].epoch);
      assert(server[s].epoch > server[s].seen && !(SERVES(OTHER(s)) && server[OTHER(s)].epoch == server[s].epoch)); /* an_epoch_is_given_once */
      server[s].seen = server[s].epoch;
      server[s].serves = 1;
      server[s].back = 1;
      other = 0 }
  /* lease.ts, renew: the registry answers while the shards are closed */
  :: d_step { (server[s].alive && server[s].epoch > 0 && IS_MINE(s, server[s].epoch) && !server[s].serves
      && server[s].redis == redis && !TOO_LATE(s)) ->
      printf("server %d: is renewed\n", s);
      server[s].serves = 1 }
  :: d_step { server[s].alive && server[s].epoch > 0 && registry[s].state != NONE && !IS_MINE(s, server[s].epoch) && !IS_OLDER(s) ->
      printf("server %d: hears that epoch %d was fenced\n", s, server[s].epoch);
      assert(!SERVES(s)); /* who_serves_was_not_fenced */
      forget_server(s) }
  :: d_step { SERVES(s) && server[s].holds -> assert(!(SERVES(OTHER(s)) && server[OTHER(s)].holds)) } /* one_owner */
  /* clients: one opens the file, later it comes back for its open, to any server */
  :: d_step { SERVES(s) && IS_OPEN(s) && !EPOCH_REFUSED(0, s, server[s].epoch) && !granted ->
      printf("server %d: the client opens the file\n", s);
      set_owner(MINE, s, server[s].epoch, ACTIVE);
      server[s].holds = 1;
      server[s].version = 1;
      granted = 1 }
  :: d_step { SERVES(s) && IS_OPEN(s) && granted && !server[s].holds && table[MINE].version < VERSIONS ->
      script_reclaim(MINE, s, server[s].epoch, result);
      printf("server %d: the client wants its open back: %d\n", s, result);
      if
      :: result == GRANTED -> server[s].holds = 1; server[s].version = table[MINE].version; forget_custody(s)
      :: else
      fi;
      result = 0 }
  /* custodians.ts, release: a drain without a target hands the open back, and keeps it in memory */
  :: d_step { (SERVES(s) && IS_OPEN(s) && !EPOCH_REFUSED(0, s, server[s].epoch) && server[s].holds && IS_OWNER(MINE, s, server[s].epoch)
      && table[MINE].version == server[s].version && server[s].version < VERSIONS) ->
      printf("server %d: releases the open\n", s);
      set_owner(MINE, NOBODY, 0, RELEASED);
      server[s].kept = table[MINE].version; server[s].keptOwner = NOBODY; server[s].keptEpoch = 0;
      server[s].holds = 0; server[s].version = 0 }
  /* another client wants the file for itself: nothing in its way means that the open is lost */
  :: d_step { SERVES(s) && IS_OPEN(s) && !EPOCH_REFUSED(0, s, server[s].epoch) && granted && table[MINE].state == ABSENT ->
      printf("server %d: another client opens the file\n", s);
      assert(!REMEMBERS(0) && !REMEMBERS(1)) } /* never_lost */
  od
}

/* The sidecar of s: fences the other server, keeps what it orphaned, and puts back what the store has lost (putting-back.ts). */
proctype Sidecar(byte s) {
  do
  :: d_step { (SERVES(s) && server[s].redis == redis && registry[OTHER(s)].state != NONE && registry[OTHER(s)].state != FENCED
      && !(SERVES(OTHER(s)) && server[OTHER(s)].epoch == registry[OTHER(s)].epoch)) ->
      printf("server %d: fences server %d, epoch %d\n", s, OTHER(s), registry[OTHER(s)].epoch);
      registry[OTHER(s)].state = FENCED;
      script_fence(0, OTHER(s), registry[OTHER(s)].epoch, false);
      if
      :: registry[OTHER(s)].epoch > server[s].seen -> server[s].seen = registry[OTHER(s)].epoch
      :: else
      fi;
      /* whatever is orphaned now, that of a custodian which was fenced too */
      if
      :: table[MINE].state != ABSENT && (table[MINE].owner == NOBODY || !OWNER_IS_VALID(MINE)) ->
        server[s].kept = table[MINE].version; server[s].keptOwner = table[MINE].owner; server[s].keptEpoch = table[MINE].epoch
      :: else
      fi }
  :: d_step { server[s].alive && server[s].redis != redis ->
      printf("server %d: finds another Redis process\n", s);
      server[s].redis = redis;
      server[s].back = 0 }
  :: d_step { server[s].alive && server[s].redis == redis && !server[s].back && !server[s].sent && (server[s].epoch == 0 || TOO_LATE(s) || WAS_LEFT_OUT) ->
      if
      :: server[s].epoch > 0 -> printf("server %d: is past its deadline, or comes too late, and puts nothing of its own back\n", s)
      :: else
      fi;
      forget_server(s);
      if
      :: WAS_LEFT_OUT -> forget_custody(s)
      :: else -> put_back_custody(s)
      fi;
      server[s].back = 1 }
  :: d_step { (server[s].alive && server[s].redis == redis && !server[s].back && !server[s].sent && server[s].epoch > 0 && !TOO_LATE(s)
      && !WAS_LEFT_OUT) ->
      printf("server %d: sends its state, epoch %d\n", s, server[s].epoch);
      server[s].sent = 1 }
  :: d_step { server[s].sent && (server[s].redis != redis || server[s].epoch == 0) -> server[s].sent = 0 } /* another process knows no such script */
  :: d_step { server[s].sent && server[s].redis == redis && server[s].epoch > 0 ->
      server[s].sent = 0;
      if
      :: COMES_LATE -> printf("server %d: comes too late with its state\n", s); forget_server(s); forget_custody(s)
      :: else ->
        assert(openedUnder != redis); /* nothing_is_put_back_into_an_open_shard */
        if
        :: registry[s].state == NONE || IS_MINE(s, server[s].epoch) || IS_OLDER(s) ->
          printf("server %d: its state is put back, epoch %d\n", s, server[s].epoch);
          registry[s].epoch = server[s].epoch;
          registry[s].state = ACTIVE_SERVER;
          reported(server[s].epoch);
          script_enter(0, s, server[s].epoch, 0);
          if
          :: server[s].holds -> script_restore(s, server[s].epoch, server[s].version)
          :: else
          fi
        :: else ->
          printf("server %d: hears that epoch %d was fenced\n", s, server[s].epoch);
          assert(!SERVES(s)); /* who_serves_was_not_fenced */
          forget_server(s)
        fi;
        put_back_custody(s)
      fi;
      server[s].back = 1 }
  :: d_step { (server[s].alive && server[s].redis == redis && openedUnder != redis && server[s].back && GRACE_OVER
      && HAS_REPORTED(0) && HAS_REPORTED(1)) ->
      printf("server %d: opens the shard\n", s);
      openedUnder = redis }
  od
}

proctype Faults(byte s) {
  do
  :: d_step { faults > 0 && SERVES(s) -> printf("server %d: its lease runs out\n", s); faults--; server[s].serves = 0 }
  :: d_step { faults > 0 && server[s].alive ->
      printf("server %d: dies with its sidecar\n", s);
      faults--;
      forget_server(s);
      server[s].alive = 0; forget_custody(s); server[s].redis = 0; server[s].back = 0; server[s].seen = 0; server[s].sent = 0 }
  :: d_step { !server[s].alive -> printf("server %d: is started again\n", s); server[s].alive = 1 }
  od
}

inline copy(place, source) {
  place.epoch = source.epoch; place.state = source.state
}

proctype Redis() {
  do
  :: d_step { !copied && !lost ->
      printf("store: somebody makes a copy\n");
      copied = 1;
      copy(oldRegistry[0], registry[0]);
      copy(oldRegistry[1], registry[1]);
      oldFences[0].at[0].lowest = fences[0].at[0].lowest;
      oldFences[0].at[1].lowest = fences[0].at[1].lowest;
      copy(oldTable[0], table[0]);
      oldTable[0].owner = table[0].owner;
      oldTable[0].version = table[0].version;
      oldHighest = highestEpoch }
  /* Never copied, it comes back empty; else it goes back to the copy, or, made just now, has everything. */
  :: d_step { !lost ->
      printf("store: another process, with what it had %d (0: never anything) copies ago\n", copied);
      lost = 1;
      redis++;
      copy(registry[0], oldRegistry[0]);
      copy(registry[1], oldRegistry[1]);
      fences[0].at[0].lowest = oldFences[0].at[0].lowest;
      fences[0].at[1].lowest = oldFences[0].at[1].lowest;
      fences[0].at[0].settling = 0;
      fences[0].at[1].settling = 0;
      copy(table[0], oldTable[0]);
      table[0].owner = oldTable[0].owner;
      table[0].version = oldTable[0].version;
      highestEpoch = oldHighest }
  od
}

init {
  atomic {
    server[0].alive = 1; server[0].redis = 1; server[0].back = 1;
    server[1].alive = 1; server[1].redis = 1; server[1].back = 1;
    run FileServer(0); run FileServer(1);
    run Sidecar(0); run Sidecar(1);
    run Faults(0); run Faults(1);
    run Redis()
  }
}
