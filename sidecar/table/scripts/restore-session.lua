-- Puts back a session that its server remembers, while the shard is closed: PreviousSessionId may name it (session.lua).
--
-- KEYS 1 store 2 fence 3 session
-- ARGV 1 serverId 2 epoch 3 user 4 clientGuid
-- Returns {outcome}
if redis.call('GET', KEYS[1]) == STORE then return { CLOSED } end
local lowest = redis.call('HGET', KEYS[2], ARGV[1])
if not lowest or tonumber(ARGV[2]) < tonumber(lowest) then return { FENCED } end
local shard, id = string.match(KEYS[3], '^(.*:)session:(%x+)$')
redis.call('SADD', shard .. 'sessions:' .. self, id)
redis.call('HSET', KEYS[3], 'owner', self, 'user', ARGV[3], 'client', ARGV[4])
return { GRANTED }
