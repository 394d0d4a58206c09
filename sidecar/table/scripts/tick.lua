-- Advances a shard's tick by one, if it still is the one that the caller saw a tick ago: so it never runs faster than a clock.
-- Whoever advances it is told what is due, and sees to it.
--
-- KEYS 1 store 2 fence 3 due
-- ARGV 1 serverId 2 epoch 3 tick seen 4 at most so many entries
-- Returns {outcome, tick, {entries due}}; the entries only to who advanced it
local no = refused()
if no then return { no, 0, {} } end
local now = tick()
if tostring(now) ~= ARGV[3] then return { GRANTED, now, {} } end
now = now + 1
redis.call('HSET', KEYS[2], '#tick', now)
return { GRANTED, now, redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, ARGV[4]) }
