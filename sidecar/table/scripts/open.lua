-- Grants or refuses an open of a file, and what it may cache.
-- MS-SMB2 3.3.5.9 (a persistent open whose client is away), 3.3.5.9.8 and 3.3.5.9.11 (leases), 3.3.5.9.10 (CreateGuid); MS-FSA
-- 2.1.5.1.2 (delete pending), 2.1.5.1.2.2 (share modes, decided on the counts per owner), 2.1.4.12 (breaks), 2.1.5.18 (what is granted).
-- Uses: counts conflicts file member state holding caching names
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 openId, then the record of the file if nobody else has it open, packed (table/sole-open.ts):
--      4 the open (fields of O_; what is not decided yet as it would be then) 5 end of m (M_DELETE_PENDING to M_RENAMING) 6 c 7 h, or ''
--      8 createGuid and clientGuid, or '' 9 reads are cached then (1: they are)
--      and what is asked for: 10 durability 11 oplock (4: a lease) 12 lease state 13 lease epoch 14 lease version 15 parent lease key
--      16 truncates 17 is directory 18 it has waited already 19 the CreateGuid may be that of another open 20 a batch oplock or none
--      21 the record may be fleeting if nobody else has the file open (never that of an open that is durable, has guids or deletes)
-- Returns {outcome, oplock granted, delete pending, file state, notices of breaks, owners to push the file state to, lease, durability};
-- the rest of the record is as it was asked for. BREAKING: {BREAKING, -, -, -, notices, breaks to wait for}.
-- {GRANTED, version of the file state} alone: nobody else has it open
local no, now = refused()
if no then return { no } end
local id = ARGV[3]
local guids = ARGV[8] ~= '' and ARGV[8] or nil
if redis.call('EXISTS', KEYS[3]) == 0 then
  -- As below when there is nothing that it could conflict with.
  local version = now * 65536 + tonumber(ARGV[9])
  local set = { 'm', pack(LAYOUT, version) .. ARGV[5], 'c', ARGV[6], 'o:' .. id, ARGV[4] }
  if ARGV[7] ~= '' then set[7], set[8] = 'h', ARGV[7] end
  if guids then set[#set + 1], set[#set + 2] = 'g:' .. guids, id end
  begin_sole(set, member(id), ARGV[21] == '1')
  return { GRANTED, version }
end
local file = load(KEYS[3], id, guids and 'g:' .. guids)
if file.open then -- a repetition: the answer was lost
  local level, lease = cached_by(file, id, file.open)
  return {
    GRANTED, level, file.meta[M_DELETE_PENDING], file_state(file), NONE, level > 0 and others(file) or NONE, lease, file.open[O_DURABILITY],
  }
end
if guids and file.extra and ARGV[19] ~= '1' then return { DUPLICATE_OBJECTID } end
if file.meta[M_UNLINKING] or file.meta[M_DELETE_PENDING] == 1 then return { DELETE_PENDING } end

local open = unpack_(ARGV[4])
local access, share, asked = open[O_ACCESS], open[O_SHARE], tonumber(ARGV[11])
local read, write, delete = arbitrated(access)
local keeps_file = bit.band(access, KEEPS_FILE) ~= 0
local violation, waiting, purge = false, false, false
for owner, classes in pairs(file.counts) do
  local state = standing(owner)
  for class, c in pairs(classes) do
    local clash = conflicts(c, read, write, delete, share) or (keeps_file and c[4] > 0)
    if class == 'r' or class == 'wr' or (state == 'valid' and #class == 1) then
      if clash then violation = true end
    elseif class == 'p' or class == 'wp' then
      if read or write or delete then waiting = true end
    elseif class == 'd' or class == 'wd' then
      if clash then purge = true end
    elseif state == 'settling' and clash then -- opens that end with their server, once its last writes have settled
      waiting = true
    end
  end
end

local notices, mine = NONE, asked == LEASE and open[O_CLIENT_GUID] .. open[O_LEASE_KEY] or nil
local contended = false
if not is_empty(file.holders) then
  local again = ARGV[18] == '1'
  local wants_write = ARGV[17] == '0' and ARGV[20] == '0' and (asked == LEASE and bit.band(tonumber(ARGV[12]), 4) ~= 0 or asked == 2 or asked == 3)
  local contention
  if violation then -- who caches the handle may be about to close it: asked first
    contention = contend(file, mine, 5, 2, again)
  elseif ARGV[16] == '1' then
    contention = contend(file, mine, 0, 4, again, nil, wants_write)
  elseif open[O_DELETE_ON_CLOSE] == 1 and is_plain(access) then -- the file goes with this open, whatever handles of it are cached
    contention = contend(file, mine, 1, 6, again)
  elseif is_plain(access) then
    -- READ_CONTROL besides attributes breaks an oplock, but no lease, as Windows has it.
    local spare = not is_plain(bit.band(access, bit.bnot(0x20000))) and function(holder) return #holder > 8 end or nil
    contention = contend(file, mine, 3, 4, again, spare, wants_write)
  end
  if contention then
    contended = contention.changed
    notices = contention.notices
    if not is_empty(contention.wait) then
      for holder in pairs(contention.wait) do file.holders[holder][H_WANTED] = 1 end
      file.waiters[self] = true
      save(file, 'mhw')
      return { BREAKING, 0, 0, 0, notices, flat(contention.wait) }
    end
    if not violation then
      waiting = waiting or contention.away
      purge = purge or contention.purge
    end
  end
  if is_plain(access) then -- who waited for other holders' caching has got so far
    for holder, h in pairs(file.holders) do
      if holder ~= mine and h[H_WANTED] == 1 then
        h[H_WANTED] = 0
        contended = true
      end
    end
  end
end
if violation or waiting or purge then
  if contended then save(file, 'mh') end
  return { violation and SHARING_VIOLATION or waiting and WAITING or PURGE, 0, 0, 0, notices }
end

local holder, state
if asked == LEASE then
  local want = tonumber(ARGV[12])
  if ARGV[17] == '1' then want = bit.band(want, 3) end
  if bit.band(want, 1) == 0 then want = 0 end
  holder = file.holders[mine]
  caching_changes(file)
  if not holder then
    holder = { grantable(file, mine, want, true), -1, 0, (tonumber(ARGV[13]) + 1) % 65536, tonumber(ARGV[14]), ARGV[15], {}, 0, 0 }
    file.holders[mine] = holder
  elseif holder[H_TO] < 0 and holder[H_WANTED] ~= 1 and want ~= holder[H_STATE] and bit.band(want, holder[H_STATE]) == holder[H_STATE]
    and grantable(file, mine, want, true) == want then
    holder[H_STATE] = want -- all of what is asked for, or what there is
    holder[H_EPOCH] = (holder[H_EPOCH] + 1) % 65536
  end
  state = holder[H_STATE]
elseif asked > 0 and ARGV[17] == '0' then
  state = grantable(file, nil, asked == 1 and 1 or asked == 2 and 5 or 7, false)
  if ARGV[20] == '1' and state ~= 7 then state = 0 end
  if state > 0 then
    caching_changes(file)
    holder = { state, -1, 0, 0, ARGV[20] == '1' and SERVERS_OWN or 0, '', {}, 0, 0 }
    file.holders[id] = holder
  else
    asked = OPLOCK_NONE
  end
else
  asked = OPLOCK_NONE
end
local durability = tonumber(ARGV[10])
-- A durable open is one whose client can be asked to give its handle up (MS-SMB2 3.3.5.9.6, 3.3.5.9.10).
if durability == DURABLE and (not holder or bit.band(state, 2) == 0) then durability = NOT_DURABLE end

local name = unpack_('\150' .. pack(LAYOUT, 0) .. ARGV[5])[M_NAMES][1]
local index, new_name = name_index(file, name[1], name[2])
open[O_DURABILITY] = durability
open[O_OPLOCK] = asked == LEASE and LEASE or holder and 1 or OPLOCK_NONE
open[O_NAME] = index
count(file.counts, open, 1)
local push = NONE
local meta_changed = new_name or not file.exists or contended
if holder then
  hold(holder, open, 1)
  if recached(file) then
    meta_changed = true
    push = others(file)
  end
end
local more = { 'o:' .. id, pack(open) }
if guids then
  more[3] = 'g:' .. guids
  more[4] = id
end
save(file, (meta_changed and 'm' or '') .. 'c' .. ((holder or contended) and 'h' or ''), more)
redis.call('SADD', KEYS[4], member(id))
local lease = NONE
if asked == LEASE then lease = { state, holder[H_EPOCH], holder[H_VERSION], holder[H_PARENT], holder[H_TO] >= 0 and 1 or 0 } end
return {
  GRANTED, asked == LEASE and LEASE or holder and level_of(state) or 0, file.meta[M_DELETE_PENDING], file_state(file), notices, push, lease,
  durability,
}
