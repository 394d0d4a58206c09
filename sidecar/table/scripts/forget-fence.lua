-- Forgets a fenced server in one shard once nothing of it waits there any more: its entry would stay for ever. That it was fenced stays
-- known: '#forgotten' is the highest epoch of all that were forgotten, and who has no entry and no higher epoch is over (common.lua,
-- standing; fence.lua, 'reenter').
--
-- Uses: sessions
-- KEYS 1 store 2 fence 3 due 4 own of the server that is forgotten
-- ARGV 1 serverId 2 epoch 3 serverId and 4 epoch of the one that is forgotten
-- Returns {outcome}: GRANTED, also when it was done before, or a later epoch has come, whose entry it is now; WAITING: opens of it still
-- wait for their clients, or its last writes settle, or it had more sessions than are forgotten at once; STALE: it is not fenced here
local no = refused()
if no then return { no } end
local lowest = redis.call('HGET', KEYS[2], ARGV[3])
local epoch = tonumber(ARGV[4])
if not lowest or tonumber(lowest) > epoch + 1 then return { GRANTED } end
if tonumber(lowest) <= epoch then return { STALE } end
local id = ARGV[3] .. '@' .. epoch
if standing(id) == 'settling' then return { WAITING } end
if redis.call('EXISTS', KEYS[4]) == 1 then
  -- A copy of the store that took over may name opens whose close it was not told (common.lua, section file), and that the server was seen to.
  redis.call('ZADD', KEYS[3], 'NX', tick(), 'server:' .. id)
  return { WAITING }
end
if not forget_sessions(id) then return { WAITING } end
if epoch > tonumber(redis.call('HGET', KEYS[2], '#forgotten') or '0') then redis.call('HSET', KEYS[2], '#forgotten', epoch) end
-- What copies still name among its opens has ended. They are told that the set goes only where there is one here.
redis.call('SADD', KEYS[4], '')
redis.call('DEL', KEYS[4])
redis.call('HDEL', KEYS[2], ARGV[3], id)
redis.call('ZREM', KEYS[3], 'server:' .. id)
return { GRANTED }
