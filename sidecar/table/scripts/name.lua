-- Reserves or drops a name of a directory while it is created, renamed or removed: two servers cannot create A.txt and a.txt.
--
-- KEYS 1 store 2 fence 3 directory
-- ARGV 1 serverId 2 epoch 3 'reserve', 'resume' (only where a server that is lost left it reserved for the same creation), 'drop',
--      'leave' (as if the caller were lost: the next may resume it), or 'restore' (put back while the shard is closed)
--      4 name (case-folded) 5 token: names the request, so that a repetition is known, and a drop that comes late does not take another request's (empty: whichever it is); then, after
--      a space, the creation that the name is reserved for, if that can be replayed
-- Returns {outcome, 1: another server has reserved a name of the directory since the caller did, not long ago}
local RESERVERS = 512 -- of a shard
if ARGV[3] == 'restore' then
  -- Opened meanwhile: then others may have been given it.
  if redis.call('GET', KEYS[1]) == STORE then return { CLOSED } end
  local lowest = redis.call('HGET', KEYS[2], ARGV[1])
  if not lowest or tonumber(ARGV[2]) < tonumber(lowest) then return { FENCED } end
else
  local no = refused()
  if no then return { no } end
end
local held = redis.call('HGET', KEYS[3], ARGV[4])
local owner, token
if held then owner, token = string.match(held, '^(.-) (.*)$') end
if ARGV[3] == 'drop' then
  if owner == self and (ARGV[5] == '' or token == ARGV[5]) then redis.call('HDEL', KEYS[3], ARGV[4]) end
  return { GRANTED }
end
if ARGV[3] == 'leave' then
  -- Epochs begin with 1: this one is over everywhere.
  if owner == self and token == ARGV[5] then redis.call('HSET', KEYS[3], ARGV[4], ARGV[1] .. '@0 ' .. token) end
  return { GRANTED }
end
if ARGV[3] == 'resume' and (not held or string.match(token, ' .*') ~= string.match(ARGV[5], ' .*')) then return { NOT_FOUND } end
-- Also while the last changes of a silent server may still reach the volume: what it does under the name is one of them.
if held and not (owner == self and token == ARGV[5]) and standing(owner) ~= 'fenced' then return { NAME_BUSY } end
redis.call('HSET', KEYS[3], ARGV[4], self .. ' ' .. ARGV[5])
-- Who reserved one last: what it changed may not show to the next in the directory's time stamps. That matters for a second or so; what is
-- kept is bounded, and what goes when there is too much is seldom that young.
local reservers = string.sub(KEYS[1], 1, -6) .. 'reservers'
local last = redis.call('HGET', reservers, KEYS[3])
if last == self then return { GRANTED, 0 } end
redis.call('HSET', reservers, KEYS[3], self)
if redis.call('HLEN', reservers) > RESERVERS then redis.call('HDEL', reservers, redis.call('HRANDFIELD', reservers)) end
return { GRANTED, last and 1 or 0 }
