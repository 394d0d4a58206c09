-- Stores, looks up or ends a session. MS-SMB2 3.3.5.5.3: PreviousSessionId ends the session of the same user, wherever it lives.
--
-- Beside each owner stands which are its own (sessions:<owner>): nobody asks for most of those of a server that is over, and whoever sees
-- to what it left forgets them (tick.lua).
--
-- KEYS 1 store 2 fence 3 session
-- ARGV 1 serverId 2 epoch 3 'store', 'look' or 'end' 4 user 5 clientGuid
-- Returns {outcome, owner, standing of the owner}; 'end' is refused (ELSEWHERE) for the session of a live server that is not the caller
local no = refused()
if no then return { no } end
local shard, id = string.match(KEYS[3], '^(.*:)session:(%x+)$')
if ARGV[3] == 'store' then
  redis.call('SADD', shard .. 'sessions:' .. self, id)
  redis.call('HSET', KEYS[3], 'owner', self, 'user', ARGV[4], 'client', ARGV[5])
  return { GRANTED, self, 'valid' }
end
local held = redis.call('HMGET', KEYS[3], 'owner', 'user')
if not held[1] then return { NOT_FOUND, '', '' } end
local state = standing(held[1])
if ARGV[3] == 'look' then
  if held[2] ~= ARGV[4] then return { ACCESS_DENIED, held[1], state } end
  return { GRANTED, held[1], state }
end
if held[1] ~= self and state == 'valid' then return { ELSEWHERE, held[1], state } end
redis.call('DEL', KEYS[3])
redis.call('SREM', shard .. 'sessions:' .. held[1], id)
return { GRANTED, held[1], state }
