-- Raises the lowest epoch that a server may have, in one shard: at its registration ('enter'), when it puts its state back into a store
-- that may have lost it ('reenter'), and when it is fenced. handle-state.md, "Fencing". No check of the store: fencing goes on while a
-- shard is closed.
--
-- KEYS 1 fence 2 due
-- ARGV 1 serverId 2 epoch: the one that enters, or the one that is fenced 3 'enter', 'reenter', 'settle' (fence; last writes may be on
--      their way) or 'fence' (they are not, or no more) 4 'n' the node may be lost, 'a' it is alive 5 the epoch that is replaced, or 0
-- Returns 1
local epoch = tonumber(ARGV[2])
local lowest = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
-- Who was fenced and forgotten does not come back: an epoch that is new is above those.
if ARGV[3] == 'reenter' and lowest == 0 and epoch <= tonumber(redis.call('HGET', KEYS[1], '#forgotten') or '0') then return 1 end
local now = tonumber(redis.call('HGET', KEYS[1], '#tick') or '0')
local function orphan(old, phase)
  local id = ARGV[1] .. '@' .. old
  local known = redis.call('HGET', KEYS[1], id)
  local at = known and string.match(known, '^%u(%d+)') or tostring(now)
  redis.call('HSET', KEYS[1], id, phase .. at .. ARGV[4])
  redis.call('ZADD', KEYS[2], 'NX', now, 'server:' .. id)
end
-- The epoch that entered this shard last is over by that: also where who replaced it died before it had come here.
if lowest > 0 and epoch > lowest then orphan(lowest, 'F') end
if ARGV[3] == 'enter' or ARGV[3] == 'reenter' then
  if epoch > lowest then redis.call('HSET', KEYS[1], ARGV[1], epoch) end
  if tonumber(ARGV[5]) > 0 then orphan(ARGV[5], 'F') end
  return 1
end
if epoch + 1 > lowest then redis.call('HSET', KEYS[1], ARGV[1], epoch + 1) end
orphan(ARGV[2], ARGV[3] == 'settle' and 'S' or 'F')
return 1
