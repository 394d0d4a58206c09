-- Opens of a file that may belong to an instance of an application (MS-SMB2 3.3.5.9.13): those whose body holds its id somewhere.
-- Whoever asks looks closer.
-- Uses: counts file state holding record
--
-- KEYS 1 store 2 fence 3 file
-- ARGV 1 serverId 2 epoch 3 AppInstanceId
-- Returns {outcome, {record, whether it has a client at a live server}, ...}
local no = refused()
if no then return { no } end
local answer = { GRANTED }
local file = load(KEYS[3])
local fields = redis.call('HGETALL', KEYS[3])
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) == 'o:' then
    local open = unpack_(fields[i + 1])
    if string.find(open[O_BODY], ARGV[3], 1, true) then
      local connected = open[O_STATE] == ACTIVE and standing(open[O_OWNER]) == 'valid'
      answer[#answer + 1] = { record(file, string.sub(fields[i], 3), open), connected and 1 or 0 }
    end
  end
end
return answer
