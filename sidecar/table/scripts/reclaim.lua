-- A client wants its open back, at the caller. MS-SMB2 3.3.5.9.7 (durable) and 3.3.5.9.12 (durable v2, persistent).
-- Uses: counts file member state holding caching record
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 openId 4 createGuid 5 clientGuid 6 user 7 persistent 8 lease key 9 sessionId 10 share
-- Returns {outcome, record, file state, notices of breaks, path that a lost server was giving the file or ''} or {ELSEWHERE, owner}
local no = refused()
if no then return { no } end
local id = ARGV[3]
local file = load(KEYS[3], id)
local open = file.open
if not open or open[O_DURABILITY] == NOT_DURABLE then return { NOT_FOUND } end
-- A reconnect of version 1 names no CreateGuid, one of version 2 names zeros for an open that has none.
local guid = open[O_CREATE_GUID] ~= '' and open[O_CREATE_GUID] or string.rep('\0', 16)
if ARGV[4] ~= '' and ARGV[4] ~= guid then return { NOT_FOUND } end
if (open[O_DURABILITY] == PERSISTENT) ~= (ARGV[7] == '1') then return { NOT_FOUND } end
if open[O_LEASE_KEY] ~= ARGV[8] then return { NOT_FOUND } end
if open[O_LEASE_KEY] ~= '' and open[O_CLIENT_GUID] ~= ARGV[5] then return { NOT_FOUND } end
local name = file.meta[M_NAMES][open[O_NAME]]
if not name or string.lower(name[1]) ~= string.lower(ARGV[10]) then return { NOT_FOUND } end
if open[O_USER] ~= ARGV[6] then return { ACCESS_DENIED } end
local owner = open[O_OWNER]
local state = standing(owner)
-- What the client was told where it was it may not have heard, and cannot answer there any more (MS-SMB2 3.3.4.6, 3.3.4.7).
local function told_anew(h)
  if not h or h[H_TO] < 0 then return NONE end
  local notices = {}
  tell_break(holder_id(id, open), h, self, notices)
  return notices
end
-- It died between the volume and the table, or before both: the file has one of two names.
local function renaming_to()
  local renaming = file.meta[M_RENAMING]
  if type(renaming) ~= 'table' or standing(renaming[2]) == 'valid' then return '' end
  return renaming[3] or ''
end
if owner == self and open[O_STATE] == ACTIVE then
  -- A repetition; or another session of the client holds it still ("Open.Session is not NULL").
  if open[O_SESSION] ~= ARGV[9] then return { ELSEWHERE, owner } end
  return { GRANTED, record(file, id, open), file_state(file), told_anew(holder_of(file, id, open)), renaming_to() }
end
if state == 'valid' and owner ~= self and open[O_STATE] ~= RELEASED then return { ELSEWHERE, owner } end
if state == 'settling' then
  local _, write = arbitrated(open[O_ACCESS])
  if write then return { SETTLING } end
end
local h = holder_of(file, id, open)
if h then hold(h, open, -1) end
count(file.counts, open, -1)
redis.call('SREM', own_key(owner), member(id))
redis.call('ZREM', KEYS[5], member(id))
open[O_OWNER] = self
open[O_VERSION] = open[O_VERSION] + 1
open[O_STATE] = ACTIVE
open[O_SESSION] = ARGV[9]
count(file.counts, open, 1)
if h then hold(h, open, 1) end
local notices = told_anew(h)
save(file, h and 'ch' or 'c')
save_open(file, id, open)
redis.call('SADD', KEYS[4], member(id))
return { GRANTED, record(file, id, open), file_state(file), notices, renaming_to() }
