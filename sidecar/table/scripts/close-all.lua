-- Ends opens of the caller's that are alone on their files with records that are fleeting, in whatever shards: the store is one process. What
-- else has happened to a file is for close.lua to see to; so is an open that is not there, as it may be another's.
-- Uses: file fleeting
--
-- KEYS 1 store 2 fence 3 file, of one of them
-- ARGV 1 serverId 2 epoch, then for each open: prefix of its shard's keys, id of its file as the file's key has it, openId
-- Returns {GRANTED, {which of the opens are left, the first is 1}}
local no = refused()
if no then return { no } end
local epoch, mine = tonumber(ARGV[2]), packed_self()
local left, seen = {}, {}
past_copies()
for i = 3, #ARGV, 3 do
  local prefix, file, id = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if not seen[prefix] then
    local lowest = redis.call('HGET', prefix .. 'fence', ARGV[1])
    if not lowest or epoch < tonumber(lowest) then
      to_copies()
      return { FENCED }
    end
    seen[prefix] = true
  end
  if not end_fleeting(prefix .. 'file:' .. file, prefix .. 'own:' .. self, id, id .. file, mine) then left[#left + 1] = i / 3 end
end
to_copies()
return { GRANTED, left }
