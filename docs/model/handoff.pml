/*
 * Ownership: an open, its transfer and release by a server that leaves, its reclaim by the client at any server, scripts that run late or
 * twice, crashes at every step, expiry, a second client that wants the file for itself, and a lock whose answer is lost.
 * Invariants 1, 2, 3 and 6. See README.md.
 *
 * Time is left to fencing.pml: a server whose lease ran out ("serves" is 0) does no I/O, and only such a server, or a dead one, is fenced.
 */
#ifndef SERVERS
#define SERVERS 2
#endif
#define SHARDS 1
#define OPENS 2              /* 0: the first client's, 1: the second client's; they conflict, both are of one file */
#define MINE 0
#define THEIRS 1
#ifndef EPOCHS
#define EPOCHS 3
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef VERSIONS
#define VERSIONS 4           /* changes of owner */
#endif
#include "shared.pml"

/* what a server does with its open of the first client's, one thing after the other */
#define IDLE 0
#define OPENING 1            /* open.lua is on its way */
#define RECLAIMING 2
#define LETTING_GO 3         /* let-go.lua is on its way, to `to` */
#define LOCKING 4

typedef Server {
  bit alive;
  bit serves;                /* before its deadline */
  byte epoch;
  bit holds;                 /* it does I/O through the open */
  bit theirs;                /* and through the second client's */
  bit quiesced;              /* takes nothing new through it: a handoff is under way */
  byte version;              /* as it remembers it */
  bit session;               /* it has a session of the client's, which may have gone without a word */
  unsigned doing : 3;
  unsigned script : 3;       /* the one on its way, which a crash does not take back */
  unsigned to : 4;
  byte toEpoch;
  byte operation;            /* number of the last operation on the open */
  unsigned answer : 4;       /* of the script under way; 0: none yet */
  bit sent;                  /* it is on its way to the store */
  byte sentEpoch;
  byte sentVersion
};
Server server[SERVERS];

/* A copy of a script on a connection that its sender has given up. */
typedef Stray {
  unsigned script : 3;
  byte sender;
  byte epoch;
  byte version;
  unsigned to : 4;
  byte toEpoch
};
Stray stray;

/* The clients: what they believe. */
unsigned at : 3 = 7;         /* the server that the first one is at; NOWHERE: it looks for one */
bit granted;                 /* the first was told that it has its open, and has not closed it */
bit theirsOpened;            /* the second has opened the file */
bit expired;                 /* its timeout ran out while it was away */
bit opened;                  /* it has asked for it */
unsigned lockTold : 2;       /* 0 nothing yet, 1 granted, 2 refused */
/* The lock of the open in the file's record, and the operation number and result beside it (O_OP, O_RESULT). */
bit locked;
byte lastOperation;
unsigned lastResult : 3;

byte faults = FAULTS;

#define UP(s) (server[s].alive && server[s].epoch > 0)
#define SERVES(s) (UP(s) && server[s].serves)
#ifdef NO_GUARD_QUIESCE
#define MAY_USE(s) (SERVES(s) && server[s].holds && server[s].session)
#else
#define MAY_USE(s) (SERVES(s) && server[s].holds && server[s].session && !server[s].quiesced)
#endif
#define NOWHERE 7

/* open.lua: a repetition is known by the open's id; it conflicts with any that is connected or waits for its client */
#ifdef NO_GUARD_WAITING_CONFLICTS
#define CONFLICTS(o) (table[1 - (o)].state == ACTIVE && OWNER_IS_VALID(1 - (o)))
#else
#define CONFLICTS(o) (table[1 - (o)].state != ABSENT)
#endif
inline script_open(o, srv, ident, result) {
  if
  :: EPOCH_REFUSED(0, srv, ident) -> result = REFUSED
  :: else ->
    if
    :: table[o].state != ABSENT -> result = GRANTED
    :: table[o].state == ABSENT && CONFLICTS(o) -> result = CONFLICT
    :: else -> set_owner(o, srv, ident, ACTIVE); result = GRANTED
    fi
  fi
}

/* lock.lua: an exclusive lock; the same range again is refused to the same open too (MS-FSA 2.1.4.10) */
inline script_lock(srv, ident, number, result) {
  if
  :: EPOCH_REFUSED(0, srv, ident) -> result = REFUSED
  :: !EPOCH_REFUSED(0, srv, ident) && (table[MINE].state != ACTIVE || !IS_OWNER(MINE, srv, ident)) -> result = NOT_FOUND
  :: else ->
    if
#ifndef NO_GUARD_OPERATION_NUMBER
    :: number == lastOperation -> result = lastResult
    :: number < lastOperation -> result = STALE
    :: number > lastOperation ->
#else
    :: true ->
#endif
      if
      :: locked -> result = CONFLICT
      :: else -> locked = 1; result = GRANTED
      fi;
      lastOperation = number;
      lastResult = result
    fi
  fi
}

inline forget_open(o) {
  table[o].state = ABSENT;
  table[o].owner = 0;
  table[o].epoch = 0;
  table[o].version = 0;
  if
  :: o == MINE -> locked = 0; lastOperation = 0; lastResult = 0
  :: else
  fi
}

/* expire.lua, 'due': nobody waits for it any more. Reclaimed meanwhile, it is not due. */
inline script_expire(o) {
  if
#ifdef NO_GUARD_EXPIRY_STATE
  :: table[o].state != ABSENT ->
#else
  :: (table[o].state != ABSENT && (table[o].state != ACTIVE || (!OWNER_IS_VALID(o) && !OWNER_IS_SETTLING(o)))) ->
#endif
    forget_open(o);
    expired = 1
  :: else
  fi
}

inline leave(s) {
  if
  :: at == s -> at = NOWHERE
  :: else
  fi
}

inline forget_all(s) {
  server[s].epoch = 0; server[s].serves = 0; server[s].holds = 0; server[s].theirs = 0; server[s].quiesced = 0; server[s].version = 0;
  server[s].session = 0; leave(s); server[s].doing = IDLE; server[s].operation = 0; server[s].answer = 0
}

inline done(s) {
  server[s].doing = IDLE; server[s].answer = 0
}

inline send(s, what) {
  server[s].doing = what;
  server[s].script = what;
  server[s].sent = 1;
  server[s].sentEpoch = server[s].epoch;
  server[s].sentVersion = server[s].version
}

/* What holds whenever a client is told that it has its open, and whenever a server uses it. */
inline check_granted() {
  assert(table[MINE].state != ABSENT) /* granted_is_stored */
}
inline check_use(s) {
  assert(table[MINE].state != ABSENT); /* granted_is_stored */
  assert(IS_OWNER(MINE, s, server[s].epoch)); /* one_owner */
  assert(table[THEIRS].state == ABSENT) /* conflicting_opens_exclude_each_other */
}

/* A script that is on its way is carried out whatever has become of its sender. */
inline carry_out(what, srv, ident, expected, heir, heirEpoch, result) {
  if
  :: what == OPENING -> script_open(MINE, srv, ident, result)
  :: what == RECLAIMING -> script_reclaim(MINE, srv, ident, result)
  :: what == LETTING_GO -> script_let_go(MINE, srv, ident, expected, heir, heirEpoch, result)
  :: what == LOCKING -> script_lock(srv, ident, 1, result)
  fi;
  assert(result != GRANTED || IS_VALID(0, srv, ident)); /* fenced_is_refused */
  printf("store: carries out script %d (1 open, 2 reclaim, 3 let go, 4 lock) of server %d, epoch %d: %d; the open is of %d, version %d\n", what, srv, ident, result, table[MINE].owner,
    table[MINE].version)
}

inline forget_sent(s) {
  server[s].sent = 0; server[s].script = IDLE; server[s].sentEpoch = 0; server[s].sentVersion = 0; server[s].to = 0; server[s].toEpoch = 0
}

inline make_stray(s) {
  stray.script = server[s].script; stray.sender = s; stray.epoch = server[s].sentEpoch; stray.version = server[s].sentVersion;
  stray.to = server[s].to; stray.toEpoch = server[s].toEpoch
}

proctype FileServer(byte s) {
  byte other, result;
  do
  /* registers under the next epoch; its predecessor is dead and fenced with it */
  :: d_step { server[s].alive && server[s].epoch == 0 && !server[s].sent && highestEpoch < EPOCHS ->
      script_register(s, server[s].epoch, other);
      script_enter(0, s, server[s].epoch, other);
      other = 0;
      printf("server %d: registers, epoch %d\n", s, server[s].epoch);
      server[s].serves = 1 }
  /* renewed, or refused: then it lets go of everything and takes a new epoch */
  :: d_step { UP(s) && !server[s].serves ->
      if
      :: IS_MINE(s, server[s].epoch) -> server[s].serves = 1; printf("server %d: is renewed\n", s)
      :: else -> printf("server %d: hears that it was fenced\n", s); forget_all(s)
      fi }

  /* the first client opens the file here */
  :: d_step { SERVES(s) && !opened && server[s].doing == IDLE && !server[s].sent ->
      printf("client 1: opens the file at server %d\n", s);
      opened = 1;
      at = s;
      server[s].session = 1;
      send(s, OPENING);
#ifdef NO_GUARD_STORED_BEFORE_ANSWERED
      granted = 1;
#endif
      }
  :: d_step { SERVES(s) && server[s].doing == OPENING && server[s].answer > 0 ->
      printf("server %d: the open was answered %d\n", s, server[s].answer);
      if
      :: server[s].answer == GRANTED ->
        server[s].holds = 1;
        server[s].version = table[MINE].version;
        granted = 1;
        check_granted()
      :: else
      fi;
      done(s) }

  /* it does I/O */
  :: d_step { MAY_USE(s) -> check_use(s) }
  /* it locks; asks again until it knows the outcome, which it tells the client */
  :: d_step { (MAY_USE(s) && server[s].doing == IDLE && !server[s].sent && lockTold == 0 && server[s].operation == 0) ->
      printf("server %d: asks for a lock, operation 1\n", s);
      server[s].operation = 1;
      send(s, LOCKING) }
  :: d_step { SERVES(s) && server[s].doing == LOCKING && server[s].answer > 0 ->
      printf("server %d: the lock was answered %d\n", s, server[s].answer);
      if
      :: server[s].answer == GRANTED -> assert(locked) /* lock_granted_is_stored */; lockTold = 1
      :: server[s].answer == CONFLICT -> assert(!locked) /* lock_refused_is_not_stored */; lockTold = 2
      :: else -> lockTold = 2
      fi;
      done(s) }

  /* handoff.md 4 to 6: quiesce, transfer or release, and only when the outcome is known: forget it, or go on */
  :: atomic { SERVES(s) && server[s].holds && server[s].doing == IDLE && !server[s].sent && table[MINE].version < VERSIONS ->
      if
      :: server[s].to = NOBODY
      :: server[(s + 1) % SERVERS].epoch > 0 -> server[s].to = (s + 1) % SERVERS; server[s].toEpoch = server[(s + 1) % SERVERS].epoch
      fi;
      d_step {
        printf("server %d: quiesces the open, hands it to %d (15: to nobody)\n", s, server[s].to);
        server[s].quiesced = 1;
        send(s, LETTING_GO) } }
  :: d_step { SERVES(s) && server[s].doing == LETTING_GO && server[s].answer > 0 ->
      printf("server %d: letting go was answered %d\n", s, server[s].answer);
      if
      :: server[s].answer == GRANTED || server[s].answer == STALE || server[s].answer == NOT_FOUND ->
        server[s].holds = 0; server[s].version = 0; server[s].session = 0; server[s].operation = 0; leave(s);
        server[s].quiesced = 0;
        done(s)
#ifndef NO_GUARD_OUTCOME_READ_BACK
      /* migration.ts: the target was fenced meanwhile, an earlier copy of the script may have moved the open: released instead */
      :: server[s].answer == INVALID -> done(s); server[s].to = NOBODY; server[s].toEpoch = 0; send(s, LETTING_GO)
#endif
      :: else -> server[s].quiesced = 0; done(s)
      fi }

  /* the client comes here for its open; a server that is alive and has it is asked, and lets go (ownership.ts) */
  :: d_step { SERVES(s) && granted && at == NOWHERE && !server[s].session && server[s].doing == IDLE && !server[s].sent && table[MINE].version < VERSIONS ->
      printf("client 1: wants its open back at server %d\n", s);
      at = s;
      send(s, RECLAIMING) }
  :: d_step { SERVES(s) && server[s].doing == RECLAIMING && server[s].answer > 0 ->
      printf("server %d: the reclaim was answered %d\n", s, server[s].answer);
      if
      :: server[s].answer == GRANTED ->
        server[s].holds = 1; server[s].version = table[MINE].version; server[s].operation = lastOperation;
        server[s].session = 1;
        check_granted()
      :: server[s].answer == NOT_FOUND ->
        assert(expired); /* never_lost: only what has expired, or was closed, is not there any more */
        granted = 0; server[s].holds = 0
      :: else -> leave(s)
      fi;
      done(s) }
  /* the table says that the open is its own, and it knows nothing of it: a client that came elsewhere has it asked (ownership.ts) */
  :: d_step { (SERVES(s) && !server[s].holds && server[s].doing == IDLE && !server[s].sent && table[MINE].state != ABSENT
      && IS_OWNER(MINE, s, server[s].epoch) && table[MINE].version < VERSIONS) ->
      printf("server %d: lets go of an open that it does not hold\n", s);
      server[s].version = table[MINE].version;
      server[s].to = NOBODY;
      send(s, LETTING_GO) }
  /* it notices that the client is not there any more: the open waits for it (disconnect.lua) */
  :: d_step { SERVES(s) && server[s].session && at != s && server[s].doing == IDLE ->
      printf("server %d: ends the session of the client that went\n", s);
      server[s].session = 0;
      if
      :: table[MINE].state == ACTIVE && IS_OWNER(MINE, s, server[s].epoch) && !EPOCH_REFUSED(0, s, server[s].epoch) ->
        table[MINE].state = DISCONNECTED
      :: else
      fi }
  /* the second client opens the file here, and closes it; its open, too, outlives its server until it expires */
  :: d_step { SERVES(s) && !theirsOpened ->
      theirsOpened = 1;
      script_open(THEIRS, s, server[s].epoch, result);
      printf("client 2: opens the file at server %d: %d\n", s, result);
      if
      :: result == GRANTED -> server[s].theirs = 1
      :: else -> theirsOpened = 0
      fi;
      result = 0 }
  :: d_step { SERVES(s) && server[s].theirs ->
      assert(table[THEIRS].state != ABSENT && table[MINE].state == ABSENT) } /* conflicting_opens_exclude_each_other */
  :: d_step { SERVES(s) && server[s].theirs && IS_OWNER(THEIRS, s, server[s].epoch) && !EPOCH_REFUSED(0, s, server[s].epoch) ->
      printf("client 2: closes the file\n");
      server[s].theirs = 0;
      forget_open(THEIRS) }
  /* a clock (clock.ts) finds what is due */
  :: d_step { SERVES(s) && table[MINE].state != ABSENT && opened && at != s && !expired ->
      script_expire(MINE);
      printf("server %d: sees to an open that may be due; expired: %d\n", s, expired) }
  :: d_step { SERVES(s) && table[THEIRS].state != ABSENT && !OWNER_IS_VALID(THEIRS) -> forget_open(THEIRS) }
  od
}

/* What was sent is carried out at some time, or the answer is lost, and it is sent again under the same number. */
proctype Wire(byte s) {
  byte result;
  do
  :: d_step { server[s].sent ->
      carry_out(server[s].script, s, server[s].sentEpoch, server[s].sentVersion, server[s].to, server[s].toEpoch, result);
      if
      :: server[s].doing != IDLE && server[s].sentEpoch == server[s].epoch -> server[s].answer = result
      :: else
      fi;
      forget_sent(s);
      result = 0 }
  /* the answer is lost: carried out, it is sent again */
  :: d_step { faults > 0 && server[s].sent && server[s].doing != IDLE ->
      faults--;
      printf("wire: the next answer to server %d is lost, it sends again\n", s);
      carry_out(server[s].script, s, server[s].sentEpoch, server[s].sentVersion, server[s].to, server[s].toEpoch, result);
      result = 0 }
  /* So is the connection, and the copy on its way may be carried out much later. What compares versions or numbers bears that; what
   * creates an open does not: store.ts has Redis end the old connection first, so that copy is carried out by then, or never. */
#ifdef NO_GUARD_BARRIER
#define MAY_STRAY(what) (true)
#else
#define MAY_STRAY(what) (what != OPENING)
#endif
  :: d_step { faults > 0 && server[s].sent && server[s].doing != IDLE && stray.script == IDLE && MAY_STRAY(server[s].script) ->
      faults--;
      printf("wire: the connection of server %d is lost with what it had sent, it sends again\n", s);
      make_stray(s) }
  /* the sidecar dies and is started again: the file server goes on under its epoch (registration.ts, #resume) */
  :: d_step { faults > 0 && SERVES(s) && server[s].doing == LETTING_GO && stray.script == IDLE ->
      faults--;
      printf("server %d: its sidecar dies, with a script on its way, and is started again\n", s);
      if
      :: server[s].sent ->
#ifdef NO_GUARD_BARRIER
        make_stray(s)
#else
        carry_out(server[s].script, s, server[s].sentEpoch, server[s].sentVersion, server[s].to, server[s].toEpoch, result)
#endif
      :: else
      fi;
      /* settling.ts: what is another's by now is released; so is what went away and came back meanwhile */
      if
#ifdef NO_GUARD_SETTLED_VERSION
      :: IS_OWNER(MINE, s, server[s].epoch) && table[MINE].state != ABSENT -> skip
#else
      :: IS_OWNER(MINE, s, server[s].epoch) && table[MINE].state != ABSENT && table[MINE].version == server[s].version -> skip
#endif
      :: else -> server[s].holds = 0; server[s].session = 0; server[s].version = 0; server[s].operation = 0; leave(s)
      fi;
      forget_sent(s);
      server[s].quiesced = 0;
      done(s);
      result = 0 }
  :: d_step { s == 0 && stray.script != IDLE ->
      printf("wire: what was on its way all the time comes to the store\n");
      carry_out(stray.script, stray.sender, stray.epoch, stray.version, stray.to, stray.toEpoch, result);
      stray.script = IDLE; stray.sender = 0; stray.epoch = 0; stray.version = 0; stray.to = 0; stray.toEpoch = 0;
      result = 0 }
  od
}

/* Leases run out, processes die and come back, and servers that do not serve any more are fenced. */
proctype Faults(byte s) {
  do
  :: d_step { faults > 0 && SERVES(s) -> printf("server %d: its lease runs out\n", s); faults--; server[s].serves = 0 }
  :: d_step { faults > 0 && server[s].alive -> printf("server %d: dies\n", s); faults--; forget_all(s); server[s].alive = 0 }
  :: d_step { !server[s].alive -> server[s].alive = 1 }
  :: d_step { registry[s].state == ACTIVE_SERVER && (!SERVES(s) || server[s].epoch != registry[s].epoch) ->
      printf("server %d: epoch %d is fenced\n", s, registry[s].epoch);
      registry[s].state = FENCED;
      script_fence(0, s, registry[s].epoch, false) }
  /* the client's connection breaks, or it goes elsewhere */
  :: d_step { at == s && granted -> printf("client 1: leaves server %d\n", s); at = NOWHERE }
  od
}

init {
  byte s;
  atomic {
    s = 0;
    do
    :: s < SERVERS ->
      server[s].alive = 1;
      run FileServer(s);
      run Wire(s);
      run Faults(s);
      s++
    :: else -> break
    od;
    s = 0
  }
}
