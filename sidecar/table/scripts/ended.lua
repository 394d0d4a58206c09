-- Says of an open that it has ended, while the shard is closed: whoever kept it and has not heard may put it back, before this or after.
-- Uses: counts file member ended state holding locks ending
--
-- KEYS 1 store 2 fence 3 file 4 own of nobody 5 due
-- ARGV 1 '-' 2 0 3 openId
-- Returns {outcome}
if redis.call('GET', KEYS[1]) == STORE then return { CLOSED } end
local id = ARGV[3]
redis.call('HSET', ended_key(), id, 1) -- until the shard is opened
local file = load(KEYS[3], id)
if file.open then end_open(file, id, file.open) end
return { GRANTED }
