-- Ends an open that its owner does not know, while the shard is closed because the store went back in time: its close was lost. What was
-- closed is never reclaimable, so it goes before anybody is granted anything.
-- Uses: counts file member state holding locks ending
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 openId
-- Returns {outcome}; what waits for its client stays: it may have come by a transfer of which the owner has not heard yet
-- It may have been opened meanwhile, while the caller was stopped: then others were granted what conflicts.
if redis.call('GET', KEYS[1]) == STORE then return { CLOSED } end
local lowest = redis.call('HGET', KEYS[2], ARGV[1])
if not lowest or tonumber(ARGV[2]) < tonumber(lowest) then return { FENCED } end
local id = ARGV[3]
local file = load(KEYS[3], id)
local open = file.open
if not open then
  redis.call('SREM', KEYS[4], member(id))
  return { NOT_FOUND }
end
if open[O_OWNER] ~= self or open[O_STATE] ~= ACTIVE then return { STALE } end
end_open(file, id, open)
return { GRANTED }
