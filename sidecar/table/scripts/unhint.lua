-- Takes a hint away that leads nowhere. Not for one who was fenced: what it had asked for, its client may have been granted elsewhere
-- since, by the same hint; a word of it may arrive that late, over a network that was cut.
--
-- KEYS 1 store 2 fence 3 the hint
-- ARGV 1 serverId 2 epoch
local no = refused()
if no then return { no } end
redis.call('UNLINK', KEYS[3])
return { GRANTED }
