/*
 * What the models share: the store (the registry of servers, fences a shard, records of opens) and the scripts that change it, one
 * step each, as Redis runs them. Sources: sidecar/table/scripts/. A guard that can be removed stands in #ifndef NO_GUARD_<name>.
 *
 * A model defines SERVERS, SHARDS, OPENS and EPOCHS (the highest epoch handed out) before it includes this file.
 */
#define NOBODY 15            /* the owner of a released open: "-" */

/* states of a server in the registry */
#define NONE 0
#define ACTIVE_SERVER 1
#define FENCING 2
#define FENCED 3

/* states of an open */
#define ABSENT 0
#define ACTIVE 1
#define DISCONNECTED 2
#define RELEASED 3

/* outcomes of scripts */
#define GRANTED 1
#define REFUSED 2            /* FENCED: the epoch check */
#define NOT_FOUND 3
#define STALE 4              /* another owner or version than expected */
#define ELSEWHERE 5          /* a live server owns it */
#define SETTLING 6           /* last writes may be on their way */
#define CONFLICT 7           /* waits, or a sharing violation */
#define INVALID 9            /* the target is fenced: says nothing about what an earlier copy of the script did */
#define CLOSED 8             /* the shard waits for its state to be put back */

#define SHARD(o) ((o) % SHARDS)

/* hf:{c}:servers and hf:{c}:epoch */
typedef RegisteredServer {
  byte epoch;
  unsigned state : 2;
  bit silent                 /* why it is being fenced: it went silent, so its last writes are waited for */
};
/* hf:{c:S}:fence, for one server: the lowest valid epoch (0: never heard of), and the fenced identities
 * whose last writes may be on their way (phase S), a bit an epoch */
typedef Fence {
  byte lowest;
  byte settling
};
typedef FenceRow { Fence at[SERVERS] };
/* o:<openId> of hf:{c:S}:file:<fileId> */
typedef OpenRecord {
  unsigned state : 2;
  unsigned owner : 4;            /* a server, or NOBODY */
  byte epoch;
  byte version
};

RegisteredServer registry[SERVERS];
byte highestEpoch;
FenceRow fences[SHARDS];
OpenRecord table[OPENS];

/* common.lua, refused(): a server that the shard has never heard of is refused like a fenced one */
#ifdef NO_GUARD_EPOCH
#define EPOCH_REFUSED(shard, s, e) (false)
#else
#define EPOCH_REFUSED(shard, s, e) (fences[shard].at[s].lowest == 0 || (e) < fences[shard].at[s].lowest)
#endif

/* common.lua, standing() */
#define IS_VALID(shard, s, e) ((e) >= fences[shard].at[s].lowest)
#define IS_SETTLING(shard, s, e) (!IS_VALID(shard, s, e) && ((fences[shard].at[s].settling >> (e)) & 1))
#define OWNER_IS_VALID(o) (table[o].owner == NOBODY || IS_VALID(SHARD(o), table[o].owner, table[o].epoch))
#define OWNER_IS_SETTLING(o) (table[o].owner != NOBODY && IS_SETTLING(SHARD(o), table[o].owner, table[o].epoch))
#define IS_OWNER(o, s, e) (table[o].owner == (s) && table[o].epoch == (e))

/* registry.lua, "mine" */
#define IS_MINE(s, e) (registry[s].epoch == (e) && registry[s].state == ACTIVE_SERVER)

/* registry.lua, 'register': the next epoch. `before` is the epoch that it replaces, 0: none */
inline script_register(srv, given, before) {
  highestEpoch++;
  before = (registry[srv].state == NONE -> 0 : registry[srv].epoch);
  given = highestEpoch;
  registry[srv].epoch = given;
  registry[srv].state = ACTIVE_SERVER;
  registry[srv].silent = 0
}

/* registry.lua, 'fencing'. The model says whether the counter is the one that was seen (unchanged), or is not asked for (-1) */
inline script_fencing(srv, ident, unchanged, isSilent, done) {
  if
  :: registry[srv].epoch != ident || registry[srv].state == NONE -> done = false
  :: else ->
    if
    :: registry[srv].state == FENCING || registry[srv].state == FENCED -> done = true
    :: registry[srv].state == ACTIVE_SERVER && !(unchanged) -> done = false
    :: else -> registry[srv].state = FENCING; registry[srv].silent = isSilent; done = true
    fi
  fi
}

/* registry.lua, 'fenced' */
inline script_fenced(srv, ident) {
  if
  :: registry[srv].epoch == ident && registry[srv].state != NONE -> registry[srv].state = FENCED
  :: else
  fi
}

/* fence.lua, 'enter': the process that had the epoch before is dead, or has let go of everything */
inline script_enter(shard, srv, given, before) {
  if
  :: given > fences[shard].at[srv].lowest -> fences[shard].at[srv].lowest = given
  :: else
  fi;
  fences[shard].at[srv].settling = fences[shard].at[srv].settling & ~((before > 0 -> 1 : 0) << before)
}

/* fence.lua, 'settle' and 'fence' */
inline script_fence(shard, srv, ident, settle) {
  if
  :: ident + 1 > fences[shard].at[srv].lowest -> fences[shard].at[srv].lowest = ident + 1
  :: else
  fi;
  if
  :: settle -> fences[shard].at[srv].settling = fences[shard].at[srv].settling | (1 << ident)
  :: else -> fences[shard].at[srv].settling = fences[shard].at[srv].settling & ~(1 << ident)
  fi
}

inline set_owner(o, srv, ident, newState) {
  table[o].owner = srv;
  table[o].epoch = ident;
  table[o].version++;
  table[o].state = newState
}

/* reclaim.lua, for a client that matches (invariant 7 is MS-SMB2's to check, not the model's) */
inline script_reclaim(o, srv, ident, result) {
  if
  :: EPOCH_REFUSED(SHARD(o), srv, ident) -> result = REFUSED
  :: else ->
    if
    :: table[o].state == ABSENT -> result = NOT_FOUND
    :: table[o].state == ACTIVE && IS_OWNER(o, srv, ident) -> result = GRANTED /* a repetition */
    :: else ->
      if
#ifndef NO_GUARD_RECLAIM_OWNER
      :: !IS_OWNER(o, srv, ident) && OWNER_IS_VALID(o) && table[o].state != RELEASED -> result = ELSEWHERE
#endif
#ifndef NO_GUARD_SETTLE
      :: !IS_OWNER(o, srv, ident) && OWNER_IS_SETTLING(o) -> result = SETTLING
      :: else -> set_owner(o, srv, ident, ACTIVE); result = GRANTED
#else
      :: else -> set_owner(o, srv, ident, ACTIVE); result = GRANTED
#endif
      fi
    fi
  fi
}

/* let-go.lua, one open of a batch: to a server, or to NOBODY (released). Repeated, it finds what it has done. */
#ifdef NO_GUARD_TRANSFER_COMPARE
#define OTHER_OWNER(o, s, e) (false)
#else
#define OTHER_OWNER(o, s, e) (!IS_OWNER(o, s, e))
#endif
#if defined(NO_GUARD_TRANSFER_COMPARE) || defined(NO_GUARD_TRANSFER_VERSION)
#define OTHER_VERSION(o, v) (false)
#else
#define OTHER_VERSION(o, v) (table[o].version != (v))
#endif
inline script_let_go(o, srv, ident, expected, heir, heirEpoch, result) {
  if
  :: EPOCH_REFUSED(SHARD(o), srv, ident) -> result = REFUSED
  :: !EPOCH_REFUSED(SHARD(o), srv, ident) && heir != NOBODY && !IS_VALID(SHARD(o), heir, heirEpoch) -> result = INVALID
  :: else ->
    if
    :: table[o].state == ABSENT -> result = NOT_FOUND
    :: (table[o].state != ABSENT && table[o].owner == heir && (heir == NOBODY || table[o].epoch == heirEpoch)
        && table[o].version == expected + 1) -> result = GRANTED /* a repetition */
    :: else ->
      if
      :: OTHER_OWNER(o, srv, ident) || OTHER_VERSION(o, expected) -> result = STALE
      :: else -> set_owner(o, heir, heirEpoch, (heir == NOBODY -> RELEASED : DISCONNECTED)); result = GRANTED
      fi
    fi
  fi
}
