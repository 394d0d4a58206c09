-- What every script shares. The loader puts this text before each decision, and before this text the lines
--   local STORE = '<run_id of this Redis>:<generation of the store>'
--   local LIFE = '<a hash of that, 16 characters>'
-- so that another Redis process, or another life of the data, does not know the script's SHA.
--
-- A script gets what stands before the first section, and the sections that its head names ("-- Uses: file state"): what is not needed
-- would still cost a microsecond each time.
--
-- A decision on a file has KEYS[1] store, KEYS[2] fence, KEYS[3] file, KEYS[4] own, KEYS[5] due
-- and ARGV[1] serverId, ARGV[2] epoch of the caller. Identities are written "serverId@epoch"; "-" is nobody.

local GRANTED, SHARING_VIOLATION, DELETE_PENDING, NOT_FOUND, ACCESS_DENIED = 1, 2, 3, 4, 5
local DUPLICATE_OBJECTID, LOCK_NOT_GRANTED, RANGE_NOT_LOCKED, NAME_BUSY = 7, 8, 9, 11
local FENCED, INVALID, TOO_MANY = 13, 15, 19
-- Answers for the sidecar only.
local CLOSED = 100    -- the shard waits for its state to be put back
local WAITING = 101   -- an open that waits for its client is in the way
local PURGE = 102     -- disconnected durable opens are in the way and may be purged
local ELSEWHERE = 103 -- a live server owns the open
local SETTLING = 104  -- a silent server's last writes may still reach the volume
local STALE = 105     -- an older operation than one that was carried out
local BREAKING = 107  -- caching has to be given up first, and its holder must say so
local NOT_BREAKING, NOT_ACCEPTED = 20, 21

local LAYOUT = 1
-- fields of an open's record (o:<openId>), a packed array
local O_LAYOUT, O_OWNER, O_VERSION, O_STATE, O_ACCESS, O_SHARE, O_DURABILITY, O_TIMEOUT = 1, 2, 3, 4, 5, 6, 7, 8
local O_CREATE_GUID, O_CLIENT_GUID, O_USER, O_SESSION, O_OPLOCK, O_LEASE_KEY, O_DELETE_ON_CLOSE = 9, 10, 11, 12, 13, 14, 15
local O_NAME, O_OP, O_RESULT, O_SEQUENCES, O_ATTACHMENT, O_BODY = 16, 17, 18, 19, 20, 21
-- fields of the file's own record (m)
local M_LAYOUT, M_VERSION, M_DELETE_PENDING, M_UNLINKING, M_NAMES, M_RENAMING = 1, 2, 3, 4, 5, 6
local M_LIFE = 7 -- of a fleeting record alone, see section file
-- fields of one lock in the list (l): start and end (exclusive) are 64-bit numbers in two halves
local L_OPEN, L_EXCLUSIVE, L_START_HIGH, L_START_LOW, L_END_HIGH, L_END_LOW = 1, 2, 3, 4, 5, 6

local ACTIVE, DISCONNECTED, RELEASED = 0, 1, 2
local NOT_DURABLE, DURABLE, PERSISTENT, RESILIENT = 0, 1, 2, 3
-- What an open asked to cache with (O_OPLOCK): nothing, an oplock, a lease. What it may cache now stands with the holder.
local OPLOCK_NONE, LEASE = 0, 4
-- fields of a holder of caching (h), a packed array; see section caching
local H_STATE, H_TO, H_REQUIRED, H_EPOCH, H_VERSION, H_PARENT, H_OWNERS, H_NUMBER, H_PLAIN, H_WANTED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local H_TOLD = 11
-- H_VERSION of an oplock that no client has, but its file server, to be asked before somebody is refused: nothing is cached behind it (decisions 22, 29).
local SERVERS_OWN = 3

local NONE = {} -- an empty list in answers, never added to
local self = ARGV[1] .. '@' .. ARGV[2]
local pack, unpack_ = cmsgpack.pack, cmsgpack.unpack

-- Why the caller is refused, or nil; and the shard's tick. A server that the shard has never heard of is refused like a fenced one.
-- In a batch the store is looked at once: all of it is one process with one life of its data, and a sidecar that has these scripts
-- saw every shard open.
local is_open = false
local function refused()
  if not is_open and redis.call('GET', KEYS[1]) ~= STORE then return CLOSED end
  is_open = true
  local known = redis.call('HMGET', KEYS[2], ARGV[1], '#tick')
  if not known[1] or tonumber(ARGV[2]) < tonumber(known[1]) then return FENCED end
  return nil, tonumber(known[2] or '0')
end

-- 'valid', 'settling' (fenced, its last writes may still be on their way) or 'fenced'. Whoever owns anything here stands in the fence,
-- or was forgotten (forget-fence.lua): then no epoch of it is above those.
local function standing(owner)
  if owner == self or owner == '-' then return 'valid' end
  local sid, epoch = string.match(owner, '^(.*)@(%d+)$')
  local lowest = redis.call('HGET', KEYS[2], sid)
  if lowest then
    if tonumber(epoch) >= tonumber(lowest) then return 'valid' end
  elseif tonumber(epoch) > tonumber(redis.call('HGET', KEYS[2], '#forgotten') or '0') then
    return 'valid'
  end
  local fence = redis.call('HGET', KEYS[2], owner)
  if fence and string.sub(fence, 1, 1) == 'S' then return 'settling' end
  return 'fenced'
end

local function tick()
  return tonumber(redis.call('HGET', KEYS[2], '#tick') or '0')
end

--[[ section counts ]]
-- Classes of opens in the counts: n not durable, d durable, p persistent, r resilient; wd, wp, wr the same while they wait for their
-- client.
local function class_of(open)
  if open[O_DURABILITY] == NOT_DURABLE then return 'n' end
  local class = open[O_DURABILITY] == PERSISTENT and 'p' or open[O_DURABILITY] == RESILIENT and 'r' or 'd'
  if open[O_STATE] == ACTIVE then return class end
  return 'w' .. class
end

-- Which of read, write and delete an access mask arbitrates (MS-FSA 2.1.5.1.2.2, MS-SMB2 2.2.13.1.1).
local function arbitrated(access)
  local read = bit.band(access, 0x21) ~= 0 -- FILE_READ_DATA, FILE_EXECUTE
  local write = bit.band(access, 0x6) ~= 0 -- FILE_WRITE_DATA, FILE_APPEND_DATA
  local delete = bit.band(access, 0x10000) ~= 0
  return read, write, delete
end

-- A bit of the access mask that no client can ask for: the open stands for one of a stream of the file that does not share deleting.
-- It keeps the file from being opened to be deleted, and is kept out by such an open (MS-FSA 2.1.5.1.2.2), and arbitrates nothing else.
local KEEPS_FILE = 0x800000

-- Opens for attributes alone neither break caching nor keep others from it (MS-FSA 2.1.4.12).
-- All but SYNCHRONIZE, FILE_WRITE_ATTRIBUTES, FILE_READ_ATTRIBUTES and KEEPS_FILE.
local PLAIN = bit.bnot(0x900180)
local function is_plain(access) return bit.band(access, PLAIN) ~= 0 end

-- Counts of one owner and class: {opens, readers, writers, deleters, deny read, deny write, deny delete, for more than attributes}
local function count(counts, open, by)
  local owner, class = open[O_OWNER], class_of(open)
  local classes = counts[owner] or {}
  local c = classes[class] or { 0, 0, 0, 0, 0, 0, 0, 0 }
  local read, write, delete = arbitrated(open[O_ACCESS])
  c[1] = c[1] + by
  if read then c[2] = c[2] + by end
  if write then c[3] = c[3] + by end
  if delete then c[4] = c[4] + by end
  if bit.band(open[O_ACCESS], PLAIN) ~= 0 then c[8] = (c[8] or 0) + by end
  if read or write or delete then
    local share = open[O_SHARE]
    if bit.band(share, 1) == 0 then c[5] = c[5] + by end
    if bit.band(share, 2) == 0 then c[6] = c[6] + by end
    if bit.band(share, 4) == 0 then c[7] = c[7] + by end
  end
  if bit.band(open[O_ACCESS], KEEPS_FILE) ~= 0 then c[7] = c[7] + by end
  classes[class] = c[1] > 0 and c or nil
  counts[owner] = next(classes) and classes or nil
end

--[[ section conflicts ]]
local function conflicts(c, read, write, delete, share)
  return (read and c[5] > 0) or (write and c[6] > 0) or (delete and c[7] > 0)
    or ((read or write or delete)
      and ((c[2] > 0 and bit.band(share, 1) == 0) or (c[3] > 0 and bit.band(share, 2) == 0) or (c[4] > 0 and bit.band(share, 4) == 0)))
end

--[[ section file ]]
-- The fields of the record of a file that are looked at on every decision, as they stand: nothing that grows with its opens.
-- `extra` is one field more.
local function fields(key, open_id, extra)
  return redis.call('HMGET', key, 'm', 'c', 'l', 'h', 'w', 'o:' .. (open_id or ''), extra or 'g:')
end

-- A record is fleeting while nothing has happened to the file but one open that is not durable (decision 27): the copies of the store, which
-- are its append-only file and its replicas, are told neither of it nor of its end; one that is made meanwhile may have it all the same.
-- M_LIFE says in which life of the data it was written: in any other it is void, as its close may be what got lost; who owns the open puts
-- it back. What else is done to the file makes the record lasting first.
local FLEETING = 151 -- the first byte of m: a list of seven
local FLEETING_END = '\176' .. LIFE -- and how m ends

-- Where the owner stands in an open as it is packed: behind the head of a list of more than fifteen, and the layout.
local OWNER_AT = 5
local function packed_self() return (#self < 32 and string.char(160 + #self) or '\217' .. string.char(#self % 256)) .. self end

local function past_copies() redis.set_repl(redis.REPL_NONE) end
local function to_copies() redis.set_repl(redis.REPL_ALL) end

-- A record begins, or a fleeting one begins to last: copies of the store may have a fleeting one under the same key, from another time.
-- It is made under a name that all of the shard share: where there are millions, looking for another name of its own costs as much as for the key.
local function begin(key, set)
  local made = string.sub(KEYS[2], 1, -6) .. 'new' -- KEYS[2] ends with "fence"
  redis.call('HSET', made, unpack(set))
  redis.call('RENAME', made, key)
end

-- A record begins with the only open of a file. @param set its fields; the first is m, without what says how many parts it has
local function begin_sole(set, entry, is_fleeting)
  if is_fleeting then
    set[2] = string.char(FLEETING) .. set[2] .. FLEETING_END
    past_copies()
    redis.call('HSET', KEYS[3], unpack(set))
    redis.call('SADD', KEYS[4], entry)
    to_copies()
  else
    set[2] = '\150' .. set[2] -- a list of six
    begin(KEYS[3], set)
    redis.call('SADD', KEYS[4], entry)
  end
end

-- The set of the owner of the open in this field of a fleeting record, and its entry there (see section member); nil: it is another field.
local function owned_by(key, field, value)
  if string.sub(field, 1, 2) ~= 'o:' then return nil end
  return string.gsub(KEYS[2], 'fence$', 'own:') .. unpack_(value)[O_OWNER], string.sub(field, 3) .. string.sub(key, #KEYS[2] + 1)
end

-- The fields of a fleeting record once it lasts; none, if it is void: then what names its open goes too, here and in copies that have it,
-- so that they all hear of it when the open is put back.
local function lasting(key, f)
  local meta = unpack_(f[1])
  local is_void = meta[M_LIFE] ~= LIFE
  meta[M_LIFE] = nil
  f[1] = pack(meta)
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if all[i] == 'm' then all[i + 1] = f[1] end
    local own, entry = owned_by(key, all[i], all[i + 1])
    if own then
      if not is_void then past_copies() end
      redis.call('SREM', own, entry)
      to_copies()
      if not is_void then redis.call('SADD', own, entry) end
    end
  end
  if is_void then
    redis.call('DEL', key)
    return {}
  end
  begin(key, all)
  return f
end

-- The record of the file in KEYS[3] (or the key given), from its fields where they were read already.
local function load(key, open_id, extra, f)
  key = key or KEYS[3]
  f = f or fields(key, open_id, extra)
  if f[1] and string.byte(f[1]) == FLEETING then f = lasting(key, f) end
  local file = {
    key = key,
    exists = f[1] and true or false,
    meta = f[1] and unpack_(f[1]) or { LAYOUT, 0, 0, false, {}, false },
    counts = f[2] and unpack_(f[2]) or {},
    locks = f[3] and unpack_(f[3]) or {},
    holders = f[4] and unpack_(f[4]) or {}, -- of caching, by their id
    waiters = f[5] and unpack_(f[5]) or {}, -- owner -> true
    open = f[6] and unpack_(f[6]) or nil,
    extra = f[7],
  }
  -- A record that begins again continues above the versions of its earlier life: ticks never run backwards.
  if not file.exists then file.meta[M_VERSION] = tick() * 65536 end
  return file
end

local function is_empty(t) return next(t) == nil end

local PARTS = { m = 'meta', c = 'counts', l = 'locks', h = 'holders', w = 'waiters' }

-- Writes back the parts named, and only those, and what else is to be set.
local function save(file, parts, set)
  set = set or {}
  local drop = {}
  for i = 1, #parts do
    local field = string.sub(parts, i, i)
    local value = file[PARTS[field]]
    if field ~= 'm' and is_empty(value) then
      drop[#drop + 1] = field
    else
      set[#set + 1] = field
      set[#set + 1] = pack(value)
    end
  end
  if #set > 0 and file.exists then redis.call('HSET', file.key, unpack(set)) end
  if #set > 0 and not file.exists then begin(file.key, set) end
  if #drop > 0 and file.exists then redis.call('HDEL', file.key, unpack(drop)) end
  file.exists = file.exists or #set > 0
end

local function save_open(file, open_id, open)
  redis.call('HSET', file.key, 'o:' .. open_id, pack(open))
end

--[[ section fleeting ]]
-- Ends an open that is alone on its file with a fleeting record: past the copies of the store, as the caller has it. Such a record is of this
-- life, its open is the caller's, and it holds nothing that open.lua did not write: whatever else happened to the file would have had it last, but for a
-- sidecar that does not know fleeting records, and has just come. `mine` is packed_self(). Returns whether it was such a one.
local function end_fleeting(key, own, id, entry, mine)
  local known = redis.call('HMGET', key, 'm', 'o:' .. id, 'h')
  if not known[2] or redis.call('HLEN', key) ~= (known[3] and 4 or 3) or string.byte(known[1]) ~= FLEETING
    or string.sub(known[1], -#FLEETING_END) ~= FLEETING_END or string.find(known[2], mine, OWNER_AT, true) ~= OWNER_AT then
    return false
  end
  redis.call('DEL', key)
  redis.call('SREM', own, entry)
  return true
end

--[[ section member ]]
-- "own" and "due" name an open by its id and the file it is an open of.
local function member(open_id)
  return open_id .. string.sub(KEYS[3], #KEYS[2] + 1) -- "fence" is as long as "file:"
end

local function own_key(owner)
  if owner == self then return KEYS[4] end
  return string.gsub(KEYS[2], ':fence$', '') .. ':own:' .. owner
end

--[[ section ended ]]
-- A hash of opens that have ended, filled while the shard is closed: nobody may put these back.
local function ended_key()
  return string.gsub(KEYS[2], ':fence$', '') .. ':ended'
end

--[[ section sessions ]]
local SESSIONS_AT_ONCE = 500
-- Forgets sessions of a server that is over; false: there are more.
local function forget_sessions(owner)
  local shard = string.gsub(KEYS[2], 'fence$', '')
  for _, id in ipairs(redis.call('SPOP', shard .. 'sessions:' .. owner, SESSIONS_AT_ONCE)) do
    local session = shard .. 'session:' .. id
    if redis.call('HGET', session, 'owner') == owner then redis.call('DEL', session) end
  end
  return redis.call('EXISTS', shard .. 'sessions:' .. owner) == 0
end

--[[ section state ]]
-- Servers other than the caller that have the file open, fenced ones left out: whom a new lock list has to reach.
local function others(file)
  local list = {}
  for owner, classes in pairs(file.counts) do
    if owner ~= self and owner ~= '-' and (classes.n or classes.d or classes.p or classes.r) and standing(owner) == 'valid' then
      list[#list + 1] = owner
    end
  end
  return list
end

-- Whether reads are cached, and by whom if only one does whose own changes break nothing: a lease, or an oplock above level II.
local function caching_of(file)
  local cached, by = 0, ''
  for id, h in pairs(file.holders) do
    local state = h[H_STATE]
    if bit.band(state, 1) ~= 0 and (#id > 8 or h[H_VERSION] ~= SERVERS_OWN) then
      if cached == 1 then return 1, '' end
      cached = 1
      if #id > 8 or bit.band(state, 4) ~= 0 then by = id end
    end
  end
  return cached, by
end

-- The state of a file as servers keep it: version, whether reads are cached, locks, the only holder, whether it is to be deleted.
local function file_state(file)
  local cached, by = 0, ''
  if not is_empty(file.holders) then cached, by = caching_of(file) end
  return { file.meta[M_VERSION], cached, file.locks, by, file.meta[M_DELETE_PENDING] }
end

--[[ section holding ]]
-- Who caches what of a file. A holder goes by the id of its lease (ClientGuid and key, 32 bytes) or by that of the one open that an
-- oplock belongs to (8 bytes). Its state is that of a lease (MS-SMB2 2.2.13.2.8: read 1, handle 2, write 4); an oplock of level II is
-- kept as R, an exclusive one as RW, batch as RWH.
-- H_TO is the state that a break under way asks for, -1: none; H_REQUIRED what it has to come to in the end; H_NUMBER counts breaks;
-- H_OWNERS counts the holder's opens by owner and class, H_PLAIN those for more than attributes; H_WANTED is 1 while an open waits for
-- what the holder has to give up, or has not asked again since (0, or absent: an older sidecar's); H_TOLD is the server that was told of
-- the break under way (absent: none is, or an older sidecar's).

local function holder_id(open_id, open)
  local kind = open[O_OPLOCK]
  if kind == OPLOCK_NONE then return nil end
  return kind == LEASE and open[O_CLIENT_GUID] .. open[O_LEASE_KEY] or open_id
end

-- Call before holders change, and `recached` after: where what servers must know has changed, so does the version of the file's state.
local function caching_changes(file)
  if not file.was_cached then file.was_cached, file.was_by = caching_of(file) end
end

local function recached(file)
  local cached, by = caching_of(file)
  if cached == file.was_cached and by == file.was_by then return false end
  file.was_cached, file.was_by = cached, by
  file.meta[M_VERSION] = file.meta[M_VERSION] + 1
  return true
end

local function hold(h, open, by)
  local owner, class = open[O_OWNER], class_of(open)
  local classes = h[H_OWNERS][owner] or {}
  local n = (classes[class] or 0) + by
  classes[class] = n > 0 and n or nil
  h[H_OWNERS][owner] = not is_empty(classes) and classes or nil
  if is_plain(open[O_ACCESS]) then h[H_PLAIN] = h[H_PLAIN] + by end
end

-- An open leaves its holder; with the last one the holder goes. Returns whether the holders changed, and whether one went.
local function leave(file, open_id, open)
  local id = holder_id(open_id, open)
  local h = id and file.holders[id]
  if not h then return false, false end
  caching_changes(file)
  hold(h, open, -1)
  if not is_empty(h[H_OWNERS]) then return true, false end
  file.holders[id] = nil
  recached(file)
  return true, true
end

local function holder_of(file, open_id, open)
  local id = holder_id(open_id, open)
  return id and file.holders[id]
end

-- After an open changed its owner or began to wait: a break whose acknowledgement nobody is there to give any more is none. Whoever
-- waits for it finds the client away. Returns whether a break ended so.
local function abandon(h)
  if h[H_TO] < 0 then return false end
  for _, classes in pairs(h[H_OWNERS]) do
    if classes.n or classes.d or classes.p or classes.r then return false end
  end
  h[H_TO], h[H_TOLD] = -1, nil
  return true
end

-- Owners whose waiting requests may go on; they say so again if not.
local function woken(file)
  local wake = {}
  for owner in pairs(file.waiters) do wake[#wake + 1] = owner end
  file.waiters = {}
  return wake
end

-- The level of an oplock from the state that it is kept as: 0 none, 1 level II, 2 exclusive, 3 batch.
local function level_of(state)
  if state == 0 then return 0 end
  if bit.band(state, 4) == 0 then return 1 end
  return bit.band(state, 2) == 0 and 2 or 3
end

-- What an open may cache: level (4: lease), and of its lease {state, epoch, version, parent key, breaking}
local function cached_by(file, open_id, open)
  local h = holder_of(file, open_id, open)
  if not h then return 0, NONE end
  if open[O_OPLOCK] ~= LEASE then return level_of(h[H_STATE]), NONE end
  return LEASE, { h[H_STATE], h[H_EPOCH], h[H_VERSION], h[H_PARENT], h[H_TO] >= 0 and 1 or 0 }
end

--[[ section caching ]]
-- Where the client of a holder is: a live server that has an active open of it; whether only waiting opens are left, durable or
-- persistent ones. Neither: the holder ended with its server.
local function presence(h)
  local here, durable, persistent
  for owner, classes in pairs(h[H_OWNERS]) do
    local state = standing(owner)
    for class in pairs(classes) do
      if state == 'valid' and #class == 1 then here = owner
      elseif class ~= 'n' and class ~= 'd' and class ~= 'wd' then persistent = true
      elseif class ~= 'n' then durable = true end
    end
  end
  return here, durable, persistent
end

-- Not ended with its server.
local function is_there(h)
  local here, durable, persistent = presence(h)
  return here or durable or persistent
end

-- What is left of a state when only the bits in `keep` may stay. States without R there are none; an oplock goes to level II or none.
local function kept(id, state, keep)
  local left = bit.band(state, keep)
  if left == state then return state end
  if #id == 8 then return bit.band(left, 1) end
  return bit.band(left, 1) ~= 0 and left or 0
end

-- The client hears of the break under way at this server.
local function tell_break(id, h, owner, notices)
  h[H_WANTED] = h[H_WANTED] or 0 -- a list has no holes
  h[H_TOLD] = owner
  notices[#notices + 1] = { id, owner, h[H_STATE], h[H_TO], h[H_EPOCH], h[H_VERSION], 1, h[H_NUMBER] }
end

-- Whether the server that was told of a break can still bring the client's answer: it lives, and has an active open of the holder.
local function is_told(h)
  local told = h[H_TOLD]
  if not told then return true end
  local classes = h[H_OWNERS][told]
  return classes and (classes.n or classes.d or classes.p or classes.r) and standing(told) == 'valid'
end

-- Begins a break, or goes on with one (then of the same epoch): what the client is told is added to `notices`: {holder, owner, from, to, epoch, version, acknowledgement, number}.
-- Only who has more than R is asked for an acknowledgement, and keeps what it has until then (MS-SMB2 3.3.4.6, 3.3.4.7).
local function begin_break(file, id, h, to, owner, notices, goes_on)
  local state = h[H_STATE]
  h[H_NUMBER] = h[H_NUMBER] + 1
  if not goes_on then h[H_EPOCH] = (h[H_EPOCH] + 1) % 65536 end
  local acknowledged = state ~= 1
  if acknowledged then
    h[H_TO], h[H_REQUIRED] = to, to
    tell_break(id, h, owner, notices)
  else
    h[H_STATE], h[H_TO] = to, -1
    if #id == 8 and to == 0 then file.holders[id] = nil end
    notices[#notices + 1] = { id, owner, state, to, h[H_EPOCH], h[H_VERSION], 0, h[H_NUMBER] }
  end
end

-- MS-FSA 2.1.4.12: others may keep only the bits in `keep`; who holds one of those in `wait_for` has to give it up first. `mine` is the
-- holder that the operation belongs to: it breaks no lease and no exclusive oplock of its own, but a level II oplock.
-- `again`: the operation has waited already, and waits for whatever is being broken. `spare(id, holder)`: holders that this one does not concern.
-- What a server has for itself concerns only who needs that no handle is kept, or wants to cache writes (`wants_write`): the file may be closed.
-- Returns {notices, changed, wait: numbers of the breaks to wait for by holder, away: a persistent open's client is, purge: a durable one's}.
local function contend(file, mine, keep, wait_for, again, spare, wants_write)
  local result = { notices = {}, changed = false, wait = {}, away = false, purge = false }
  local asks_servers = wants_write or bit.band(wait_for, 2) ~= 0
  caching_changes(file)
  for id, h in pairs(file.holders) do
    local state = h[H_STATE]
    if state ~= 0 and (id ~= mine or (#id == 8 and state == 1)) and not (spare and spare(id, h))
      and (asks_servers or #id > 8 or h[H_VERSION] ~= SERVERS_OWN) then
      local to = kept(id, state, keep)
      local breaking = h[H_TO] >= 0
      if to ~= state or breaking then
        local here, durable, persistent = presence(h)
        local waits = again and breaking
        if here and breaking and not is_told(h) then -- the client's session has moved since
          tell_break(id, h, here, result.notices)
          result.changed = true
        end
        if here and to ~= state then
          waits = waits or bit.band(state, wait_for) ~= 0
          if not breaking then
            begin_break(file, id, h, to, here, result.notices)
            result.changed = true
          elseif bit.band(h[H_REQUIRED], to) ~= h[H_REQUIRED] then
            h[H_REQUIRED] = bit.band(h[H_REQUIRED], to)
            result.changed = true
          end
          waits = waits and h[H_TO] >= 0
        elseif here then
          waits = wait_for ~= 0
        elseif to ~= state and persistent then
          result.away = true
        elseif to ~= state and durable then
          result.purge = true
        elseif not persistent and not durable then
          file.holders[id] = nil
          result.changed = true
        end
        if here and waits then result.wait[id] = h[H_NUMBER] end
      end
    end
  end
  recached(file)
  return result
end

-- What may be cached (MS-FSA 2.1.5.18): the state wanted, less what others' opens, caching and locks forbid. Locks forbid more than
-- Windows has it, and the same as with smbd: a client that may cache writes keeps its locks to itself, and the Linux kernel's then
-- forgets to let those go that it had taken here before.
local function grantable(file, mine, want, is_lease)
  local shared, handles, level_two = true, false, false
  for id, h in pairs(file.holders) do
    local state = h[H_STATE]
    if id ~= mine and state ~= 0 and (#id > 8 or h[H_VERSION] ~= SERVERS_OWN) and is_there(h) then
      shared = shared and bit.band(state, 4) == 0
      if #id == 8 then level_two = true elseif bit.band(state, 2) ~= 0 then handles = true end
      want = bit.band(want, 3)
    end
  end
  if not shared then return 0 end
  if bit.band(want, 4) ~= 0 then
    local own = mine and file.holders[mine]
    local plain = own and -own[H_PLAIN] or 0
    for owner, classes in pairs(file.counts) do
      for class, c in pairs(classes) do
        if own or class ~= 'n' or standing(owner) ~= 'fenced' then plain = plain + (c[8] or 0) end
      end
    end
    if plain > 0 then want = bit.band(want, 3) end
  end
  if #file.locks > 0 then return 0 end
  if bit.band(want, 4) ~= 0 then return want end
  if not is_lease then return handles and 0 or bit.band(want, 1) end
  return level_two and bit.band(want, 1) or want
end

local function flat(wait)
  local list = {}
  for id, number in pairs(wait) do list[#list + 1] = { id, number } end
  return list
end

--[[ section locks ]]
local function drop_locks(file, open_id)
  local kept, dropped = {}, 0
  for _, lock in ipairs(file.locks) do
    if lock[L_OPEN] == open_id then dropped = dropped + 1 else kept[#kept + 1] = lock end
  end
  if dropped > 0 then
    file.locks = kept
    file.meta[M_VERSION] = file.meta[M_VERSION] + 1
  end
  return dropped
end

--[[ section ending ]]
-- Ends an open (MS-FSA 2.1.5.5). The last one of a delete-pending file leaves the record behind in state "unlinking", with an entry
-- in "due" so that somebody finishes if the closer dies; any other last one takes the record with it.
-- Returns remove, share, path, owners to push to, owners whose waiters may try again.
local function end_open(file, open_id, open)
  local name = file.meta[M_NAMES][open[O_NAME]] or { '', '' }
  count(file.counts, open, -1)
  local unlocked = drop_locks(file, open_id)
  local held, uncached = false, false
  if open[O_OPLOCK] ~= OPLOCK_NONE then held, uncached = leave(file, open_id, open) end
  if is_empty(file.counts) and file.meta[M_DELETE_PENDING] == 0 and open[O_DELETE_ON_CLOSE] == 0 then
    redis.call('DEL', file.key)
  elseif open[O_CREATE_GUID] ~= '' then
    local guids = 'g:' .. open[O_CREATE_GUID] .. open[O_CLIENT_GUID]
    redis.call('HDEL', file.key, 'o:' .. open_id)
    if redis.call('HGET', file.key, guids) == open_id then redis.call('HDEL', file.key, guids) end -- no later open has the same
  else
    redis.call('HDEL', file.key, 'o:' .. open_id)
  end
  redis.call('SREM', own_key(open[O_OWNER]), member(open_id))
  if open[O_STATE] ~= ACTIVE then redis.call('ZREM', KEYS[5], member(open_id)) end
  if open[O_DELETE_ON_CLOSE] == 1 then file.meta[M_DELETE_PENDING] = 1 end
  if type(file.meta[M_RENAMING]) == 'table' and file.meta[M_RENAMING][1] == open_id then file.meta[M_RENAMING] = false end
  local wake = {}
  if unlocked > 0 or uncached then wake = woken(file) end
  if not is_empty(file.counts) then
    save(file, (unlocked > 0 and 'mclw' or uncached and 'mcw' or 'mc') .. (held and 'h' or ''))
    return 0, '', '', (unlocked > 0 or uncached) and others(file) or {}, wake
  end
  if file.meta[M_DELETE_PENDING] == 1 then
    file.meta[M_UNLINKING] = { open_id, name[1], name[2] }
    save(file, 'mclhw')
    redis.call('ZADD', KEYS[5], tick() + 10, 'unlink:' .. string.match(KEYS[3], ':file:(.*)$'))
    return 1, name[1], name[2], {}, wake
  end
  return 0, '', '', {}, wake -- the record went above
end

--[[ section record ]]
-- The whole record of an open as a flat list; common to all answers that carry one.
local function record(file, open_id, open)
  local name = file.meta[M_NAMES][open[O_NAME]] or { '', '' }
  local level, lease = cached_by(file, open_id, open)
  return {
    open_id, open[O_OWNER], open[O_VERSION], open[O_STATE], open[O_ACCESS], open[O_SHARE], open[O_DURABILITY], open[O_TIMEOUT],
    open[O_CREATE_GUID], open[O_CLIENT_GUID], open[O_USER], open[O_SESSION], level, open[O_LEASE_KEY],
    open[O_DELETE_ON_CLOSE], name[1], name[2], open[O_SEQUENCES], open[O_ATTACHMENT], open[O_BODY], file.meta[M_DELETE_PENDING],
    open[O_OP], lease,
  }
end

--[[ section due ]]
-- When an open that begins to wait now has waited long enough. ARGV times are milliseconds, a tick is a second; one is added
-- because the present tick is partly over: late, never early. `now` is the shard's tick where it is known.
local function due_at(timeout_ms, now)
  return (now or tick()) + math.ceil(timeout_ms / 1000) + 1
end

--[[ section names ]]
-- Index of a name among the names by which the file is open; names are few, opens may be many.
local function name_index(file, share, path)
  for i, name in ipairs(file.meta[M_NAMES]) do
    if name[1] == share and name[2] == path then return i, false end
  end
  local names = file.meta[M_NAMES]
  names[#names + 1] = { share, path }
  return #names, true
end
