-- Advances a shard's tick by one, if it still is the one that the caller saw a tick ago: so it never runs faster than a clock.
-- Whoever advances it is told what is due, and sees to it.
--
-- Uses: sessions
-- KEYS 1 store 2 fence 3 due
-- ARGV 1 serverId 2 epoch 3 tick seen 4 at most so many entries
--      5 optional: an entry to see again (or 'done' with it) 6 after so many ticks, -1: it is done with; of a server that is over its
--        sessions go first, and while there are more it is due again
-- Returns {outcome, tick, {entries due}}; the entries only to who advanced it
local no = refused()
if no then return { no, 0, {} } end
local now = tick()
if ARGV[5] then
  if tonumber(ARGV[6]) < 0 then
    local identity = string.match(ARGV[5], '^server:(.*)$')
    if identity and not forget_sessions(identity) then return { GRANTED, now, {} } end
    redis.call('ZREM', KEYS[3], ARGV[5])
    if identity then redis.call('HDEL', KEYS[2], identity) end
  else
    redis.call('ZADD', KEYS[3], now + tonumber(ARGV[6]), ARGV[5])
  end
  return { GRANTED, now, {} }
end
if tostring(now) ~= ARGV[3] then return { GRANTED, now, {} } end
now = now + 1
redis.call('HSET', KEYS[2], '#tick', now)
return { GRANTED, now, redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, ARGV[4]) }
