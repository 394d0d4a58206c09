-- What every script shares. The loader puts this text before each decision, and before this text a line
--   local STORE = '<run_id of this Redis>:<generation of the store>'
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

local LAYOUT = 1
-- fields of an open's record (o:<openId>), a packed array
local O_LAYOUT, O_OWNER, O_VERSION, O_STATE, O_ACCESS, O_SHARE, O_DURABILITY, O_TIMEOUT = 1, 2, 3, 4, 5, 6, 7, 8
local O_CREATE_GUID, O_CLIENT_GUID, O_USER, O_SESSION, O_OPLOCK, O_LEASE_KEY, O_DELETE_ON_CLOSE = 9, 10, 11, 12, 13, 14, 15
local O_NAME, O_OP, O_RESULT, O_SEQUENCES, O_ATTACHMENT, O_BODY = 16, 17, 18, 19, 20, 21
-- fields of the file's own record (m)
local M_LAYOUT, M_VERSION, M_DELETE_PENDING, M_UNLINKING, M_NAMES, M_RENAMING = 1, 2, 3, 4, 5, 6
-- fields of one lock in the list (l): start and end (exclusive) are 64-bit numbers in two halves
local L_OPEN, L_EXCLUSIVE, L_START_HIGH, L_START_LOW, L_END_HIGH, L_END_LOW = 1, 2, 3, 4, 5, 6

local ACTIVE, DISCONNECTED, RELEASED = 0, 1, 2
local NOT_DURABLE, DURABLE, PERSISTENT = 0, 1, 2
local OPLOCK_NONE, LEVEL_II = 0, 1

local self = ARGV[1] .. '@' .. ARGV[2]
local pack, unpack_ = cmsgpack.pack, cmsgpack.unpack

-- Why the caller is refused, or nil. A server that the shard has never heard of is refused like a fenced one.
local function refused()
  if redis.call('GET', KEYS[1]) ~= STORE then return CLOSED end
  local lowest = redis.call('HGET', KEYS[2], ARGV[1])
  if not lowest or tonumber(ARGV[2]) < tonumber(lowest) then return FENCED end
  return nil
end

-- 'valid', 'settling' (fenced, its last writes may still be on their way) or 'fenced'.
local function standing(owner)
  if owner == self or owner == '-' then return 'valid' end
  local sid, epoch = string.match(owner, '^(.*)@(%d+)$')
  local lowest = redis.call('HGET', KEYS[2], sid)
  if not lowest or tonumber(epoch) >= tonumber(lowest) then return 'valid' end
  local fence = redis.call('HGET', KEYS[2], owner)
  if fence and string.sub(fence, 1, 1) == 'S' then return 'settling' end
  return 'fenced'
end

local function tick()
  return tonumber(redis.call('HGET', KEYS[2], '#tick') or '0')
end

--[[ section counts ]]
-- Classes of opens in the counts: n not durable, d durable, p persistent; wd, wp the same while they wait for their client.
local function class_of(open)
  if open[O_DURABILITY] == NOT_DURABLE then return 'n' end
  local class = open[O_DURABILITY] == PERSISTENT and 'p' or 'd'
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

-- Counts of one owner and class: {opens, readers, writers, deleters, deny read, deny write, deny delete}
local function count(counts, open, by)
  local owner, class = open[O_OWNER], class_of(open)
  local classes = counts[owner] or {}
  local c = classes[class] or { 0, 0, 0, 0, 0, 0, 0 }
  local read, write, delete = arbitrated(open[O_ACCESS])
  c[1] = c[1] + by
  if read then c[2] = c[2] + by end
  if write then c[3] = c[3] + by end
  if delete then c[4] = c[4] + by end
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
-- The record of the file in KEYS[3] (or the key given): what is asked of it on every decision, and nothing that grows with its opens.
-- `extra` is one field more, as it stands.
local function load(key, open_id, extra)
  key = key or KEYS[3]
  local f = redis.call('HMGET', key, 'm', 'c', 'l', 'k', 'w', 'o:' .. (open_id or ''), extra or 'g:')
  local file = {
    key = key,
    exists = f[1] and true or false,
    meta = f[1] and unpack_(f[1]) or { LAYOUT, 0, 0, false, {}, false },
    counts = f[2] and unpack_(f[2]) or {},
    locks = f[3] and unpack_(f[3]) or {},
    cachers = f[4] and unpack_(f[4]) or {}, -- openId -> owner
    waiters = f[5] and unpack_(f[5]) or {}, -- owner -> true
    open = f[6] and unpack_(f[6]) or nil,
    extra = f[7],
  }
  -- A record that begins again continues above the versions of its earlier life: ticks never run backwards.
  if not file.exists then file.meta[M_VERSION] = tick() * 65536 end
  return file
end

local function is_empty(t) return next(t) == nil end

local PARTS = { m = 'meta', c = 'counts', l = 'locks', k = 'cachers', w = 'waiters' }

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
  if #set > 0 then redis.call('HSET', file.key, unpack(set)) end
  if #drop > 0 and file.exists then redis.call('HDEL', file.key, unpack(drop)) end
end

local function save_open(file, open_id, open)
  redis.call('HSET', file.key, 'o:' .. open_id, pack(open))
end

--[[ section member ]]
-- "own" and "due" name an open by its id and the file it is an open of.
local function member(open_id)
  return open_id .. string.match(KEYS[3], ':file:(.*)$')
end

local function own_key(owner)
  return string.gsub(KEYS[2], ':fence$', '') .. ':own:' .. owner
end

--[[ section state ]]
-- Servers other than the caller that have the file open, fenced ones left out: whom a new lock list has to reach.
local function others(file)
  local list = {}
  for owner, classes in pairs(file.counts) do
    if owner ~= self and owner ~= '-' and (classes.n or classes.d or classes.p) and standing(owner) == 'valid' then
      list[#list + 1] = owner
    end
  end
  return list
end

-- The state of a file as servers keep it: version, whether reads are cached, locks.
local function file_state(file)
  return { file.meta[M_VERSION], is_empty(file.cachers) and 0 or 1, file.locks }
end

--[[ section caching ]]
-- Takes read caching (level II oplocks) from all who have it. MS-FSA 2.1.4.12: a change breaks every level II oplock, with no
-- acknowledgement to wait for. Returns {openId, owner} pairs of those to be told.
local function break_read_caching(file)
  local told = {}
  for open_id, owner in pairs(file.cachers) do
    local text = redis.call('HGET', file.key, 'o:' .. open_id)
    if text then
      local open = unpack_(text)
      open[O_OPLOCK] = OPLOCK_NONE
      save_open(file, open_id, open)
      if file.open and file.open_id == open_id then file.open[O_OPLOCK] = OPLOCK_NONE end
      if standing(owner) == 'valid' then told[#told + 1] = { open_id, owner } end
    end
  end
  if not is_empty(file.cachers) then file.meta[M_VERSION] = file.meta[M_VERSION] + 1 end
  file.cachers = {}
  return told
end

-- An open gives up its caching; with the last one the file's state changes.
local function uncache(file, open_id)
  if not file.cachers[open_id] then return false end
  file.cachers[open_id] = nil
  if is_empty(file.cachers) then file.meta[M_VERSION] = file.meta[M_VERSION] + 1 end
  return true
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
  local uncached = uncache(file, open_id)
  if is_empty(file.counts) and file.meta[M_DELETE_PENDING] == 0 and open[O_DELETE_ON_CLOSE] == 0 then
    redis.call('DEL', file.key)
  elseif open[O_CREATE_GUID] ~= '' then
    redis.call('HDEL', file.key, 'o:' .. open_id, 'g:' .. open[O_CREATE_GUID] .. open[O_CLIENT_GUID])
  else
    redis.call('HDEL', file.key, 'o:' .. open_id)
  end
  redis.call('SREM', own_key(open[O_OWNER]), member(open_id))
  if open[O_STATE] ~= ACTIVE then redis.call('ZREM', KEYS[5], member(open_id)) end
  if open[O_DELETE_ON_CLOSE] == 1 then file.meta[M_DELETE_PENDING] = 1 end
  if type(file.meta[M_RENAMING]) == 'table' and file.meta[M_RENAMING][1] == open_id then file.meta[M_RENAMING] = false end
  local wake = {}
  if unlocked > 0 then
    for owner in pairs(file.waiters) do wake[#wake + 1] = owner end
    file.waiters = {}
  end
  if not is_empty(file.counts) then
    save(file, unlocked > 0 and 'mclkw' or 'mck')
    return 0, '', '', (unlocked > 0 or uncached) and others(file) or {}, wake
  end
  if file.meta[M_DELETE_PENDING] == 1 then
    file.meta[M_UNLINKING] = { open_id, name[1], name[2] }
    save(file, 'mclkw')
    redis.call('ZADD', KEYS[5], tick() + 10, 'unlink:' .. string.match(KEYS[3], ':file:(.*)$'))
    return 1, name[1], name[2], {}, wake
  end
  return 0, '', '', {}, wake -- the record went above
end

--[[ section record ]]
-- The whole record of an open as a flat list; common to all answers that carry one.
local function record(file, open_id, open)
  local name = file.meta[M_NAMES][open[O_NAME]] or { '', '' }
  return {
    open_id, open[O_OWNER], open[O_VERSION], open[O_STATE], open[O_ACCESS], open[O_SHARE], open[O_DURABILITY], open[O_TIMEOUT],
    open[O_CREATE_GUID], open[O_CLIENT_GUID], open[O_USER], open[O_SESSION], open[O_OPLOCK], open[O_LEASE_KEY],
    open[O_DELETE_ON_CLOSE], name[1], name[2], open[O_SEQUENCES], open[O_ATTACHMENT], open[O_BODY], file.meta[M_DELETE_PENDING],
    open[O_OP],
  }
end

--[[ section due ]]
-- When an open that begins to wait now has waited long enough. ARGV times are milliseconds, a tick is a second; one is added
-- because the present tick is partly over: late, never early.
local function due_at(timeout_ms)
  return tick() + math.ceil(timeout_ms / 1000) + 1
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
