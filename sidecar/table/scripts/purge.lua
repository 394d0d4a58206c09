-- Which opens of a file are durable, not persistent, and without their client: those a conflicting newcomer may purge.
--
-- KEYS 1 store 2 fence 3 file
-- ARGV 1 serverId 2 epoch
-- Returns {outcome, {openId, ...}}
local no = refused()
if no then return { no } end
local ids = {}
local fields = redis.call('HGETALL', KEYS[3])
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) == 'o:' then
    local open = unpack_(fields[i + 1])
    if open[O_DURABILITY] == DURABLE and (open[O_STATE] ~= ACTIVE or standing(open[O_OWNER]) ~= 'valid') then
      ids[#ids + 1] = string.sub(fields[i], 3)
    end
  end
end
return { GRANTED, ids }
