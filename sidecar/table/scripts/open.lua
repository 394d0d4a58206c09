-- Grants or refuses an open of a file.
-- MS-SMB2 3.3.5.9 (a persistent open whose client is away), 3.3.5.9.10 (CreateGuid); MS-FSA 2.1.5.1.2 (delete pending),
-- 2.1.5.1.2.2 (share modes, decided on the counts per owner), 2.1.5.18 (level II oplocks).
-- Uses: counts conflicts file member state caching names
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 openId 4 access 5 share access 6 durability 7 timeout (ms) 8 createGuid 9 clientGuid 10 user
--      11 sessionId 12 oplock asked for 13 lease key 14 delete on close 15 share 16 path 17 attachment 18 body 19 truncates
--      20 is directory
-- Returns {outcome, oplock granted, delete pending, file state, breaks {{openId, owner}}, owners to push the file state to}; the rest of
-- the record is as it was asked for
local no = refused()
if no then return { no } end
local id = ARGV[3]
local guids = ARGV[8] ~= '' and (ARGV[8] .. ARGV[9]) or nil
local file = load(KEYS[3], id, guids and 'g:' .. guids)
if file.open then -- a repetition: the answer was lost
  return { GRANTED, file.open[O_OPLOCK], file.meta[M_DELETE_PENDING], file_state(file), {}, file.open[O_OPLOCK] == LEVEL_II and others(file) or {} }
end
if guids and file.extra then return { DUPLICATE_OBJECTID } end
if file.meta[M_UNLINKING] or file.meta[M_DELETE_PENDING] == 1 then return { DELETE_PENDING } end

local access, share = tonumber(ARGV[4]), tonumber(ARGV[5])
local read, write, delete = arbitrated(access)
local keeps_file = bit.band(access, KEEPS_FILE) ~= 0
local waiting, purge = false, false
for owner, classes in pairs(file.counts) do
  local state = standing(owner)
  for class, c in pairs(classes) do
    local clash = conflicts(c, read, write, delete, share) or (keeps_file and c[4] > 0)
    if state == 'valid' and (class == 'n' or class == 'd' or class == 'p') then
      if clash then return { SHARING_VIOLATION } end
    elseif class == 'p' or class == 'wp' then
      if read or write or delete then waiting = true end
    elseif class == 'd' or class == 'wd' then
      if clash then purge = true end
    elseif state == 'settling' and clash then -- opens that end with their server, once its last writes have settled
      waiting = true
    end
  end
end
if waiting then return { WAITING } end
if purge then return { PURGE } end

local breaks = {}
if ARGV[19] == '1' then breaks = break_read_caching(file) end
local oplock = OPLOCK_NONE
local asked = tonumber(ARGV[12])
if asked >= 1 and asked <= 3 and ARGV[20] == '0' and #file.locks == 0 and #breaks == 0 then oplock = LEVEL_II end

local index, new_name = name_index(file, ARGV[15], ARGV[16])
local open = {
  LAYOUT, self, 1, ACTIVE, access, share, tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10], ARGV[11], oplock,
  ARGV[13], tonumber(ARGV[14]), index, 0, false, '', ARGV[17], ARGV[18],
}
count(file.counts, open, 1)
local push = {}
local meta_changed = new_name or not file.exists or #breaks > 0
if oplock == LEVEL_II then
  if is_empty(file.cachers) then
    file.meta[M_VERSION] = file.meta[M_VERSION] + 1
    meta_changed = true
    push = others(file)
  end
  file.cachers[id] = self
end
local more = { 'o:' .. id, pack(open) }
if guids then
  more[3] = 'g:' .. guids
  more[4] = id
end
save(file, (meta_changed and 'm' or '') .. 'c' .. ((oplock == LEVEL_II or #breaks > 0) and 'k' or ''), more)
redis.call('SADD', KEYS[4], member(id))
return { GRANTED, oplock, file.meta[M_DELETE_PENDING], file_state(file), breaks, push }
