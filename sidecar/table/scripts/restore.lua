-- Puts back an open that its owner (or custodian) remembers, while the shard is closed. The higher ownership version wins.
-- Uses: counts file member ended state holding locks names due
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId ('-': it was released, and is nobody's) 2 epoch 3 openId 4 access 5 share access 6 durability 7 timeout (ms) 8 createGuid 9 clientGuid 10 user
--      11 sessionId 12 state 13 lease key 14 delete on close 15 share 16 path 17 attachment 18 body 19 version 20 operation number
--      21 lock sequences 22 delete pending 23 file version 24 oplock (4: lease) 25 lease state 26 epoch 27 version
--      28 parent key 29 number of locks, then per lock: exclusive, start high, low, end high, low; at the end 1: the store may be older
--      than what the caller remembers, and 1: the caller's sidecar was started anew and knows the open by what its file server said, so that the
--      store may know more: of its locks, where the version of the file is not above its own, and of its operations
-- Returns {outcome}; NOT_FOUND: it has ended since, and the caller had not heard of it (ended.lua)
-- It may have been opened meanwhile, while the caller was stopped: then others were granted what conflicts.
if redis.call('GET', KEYS[1]) == STORE then return { CLOSED } end
local owner = ARGV[1] == '-' and '-' or self
local lowest = redis.call('HGET', KEYS[2], ARGV[1])
-- Of a fenced server its custodian puts back what waits there for its client; the server itself is refused by the registry.
local is_fenced = not lowest or tonumber(ARGV[2]) < tonumber(lowest)
if owner ~= '-' and is_fenced and not redis.call('HGET', KEYS[2], self) then return { FENCED } end
local id = ARGV[3]
if redis.call('HEXISTS', ended_key(), id) == 1 then return { NOT_FOUND } end
local file = load(KEYS[3], id)
local known = file.open
local version = tonumber(ARGV[19])
local op, result, sequences, keeps_locks = tonumber(ARGV[20]), false, ARGV[21], false
if known then
  if known[O_VERSION] > version then return { GRANTED } end
  -- Who gave it away did not hear that it had arrived.
  if known[O_VERSION] == version and owner == '-' and known[O_OWNER] ~= '-' then return { GRANTED } end
  -- Of its own opens the owner knows best. Where nothing can be lost they are as it left them.
  local behind_locks = 30 + 5 * tonumber(ARGV[29])
  if known[O_VERSION] == version and known[O_OWNER] == owner then
    if ARGV[behind_locks] ~= '1' then return { GRANTED } end
    if ARGV[behind_locks + 1] == '1' then
      op, result, sequences = known[O_OP], known[O_RESULT], known[O_SEQUENCES]
      keeps_locks = file.meta[M_VERSION] >= tonumber(ARGV[23])
    end
  end
  count(file.counts, known, -1)
  leave(file, id, known)
  redis.call('SREM', own_key(known[O_OWNER]), member(id))
  redis.call('ZREM', KEYS[5], member(id))
end
if not keeps_locks then drop_locks(file, id) end
local oplock = tonumber(ARGV[24])
local index = name_index(file, ARGV[15], ARGV[16])
local open = {
  LAYOUT, owner, version, tonumber(ARGV[12]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8],
  ARGV[9], ARGV[10], ARGV[11], oplock == LEASE and LEASE or oplock > 0 and 1 or OPLOCK_NONE, ARGV[13], tonumber(ARGV[14]), index, op, result, sequences, ARGV[17], ARGV[18],
}
count(file.counts, open, 1)
-- Of a lease that two servers remember, the one that was broken later (or upgraded) counts.
local holder = holder_id(id, open)
if holder then
  local h = file.holders[holder]
  local state = oplock == LEASE and tonumber(ARGV[25]) or oplock == 1 and 1 or oplock == 2 and 5 or 7
  local epoch = tonumber(ARGV[26])
  if not h then
    h = { state, -1, 0, epoch, tonumber(ARGV[27]), ARGV[28], {}, 0, 0 }
    file.holders[holder] = h
  elseif (epoch - h[H_EPOCH]) % 65536 < 32768 then
    h[H_STATE], h[H_EPOCH] = epoch == h[H_EPOCH] and bit.band(state, h[H_STATE]) or state, epoch
  end
  hold(h, open, 1)
end
if ARGV[22] == '1' then file.meta[M_DELETE_PENDING] = 1 end
for i = 1, keeps_locks and 0 or tonumber(ARGV[29]) do
  local at = 30 + (i - 1) * 5
  file.locks[#file.locks + 1] = {
    id, tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]),
  }
end
file.meta[M_VERSION] = math.max(file.meta[M_VERSION], tonumber(ARGV[23])) + 1
save(file, 'mclh')
save_open(file, id, open)
if open[O_CREATE_GUID] ~= '' then redis.call('HSET', KEYS[3], 'g:' .. open[O_CREATE_GUID] .. open[O_CLIENT_GUID], id) end
redis.call('SADD', KEYS[4], member(id))
if open[O_STATE] ~= ACTIVE then redis.call('ZADD', KEYS[5], due_at(open[O_TIMEOUT]), member(id)) end
return { GRANTED }
