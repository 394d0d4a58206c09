-- Several decisions in one call, in the order given. Each is as if it were called alone; an error in one is its own answer, and the
-- others go on. What is paid once a call (the way into Lua, the closures, the transaction in the append-only file) is shared.
-- For a store that is one process: the decisions are on files of any shard, so their keys are in the packed arguments.
--
-- ARGV 1 packed, one behind the other, for each decision: script, prefix of its keys, rest of the file's key, key of a hint to set or '', its value, key of a
--      hint to forget once granted or '', {arguments}
-- Returns a packed list: the decisions' answers, or {ERROR, text}
local ERROR = 106 -- for the sidecar only, as those of common.lua
local answers = {}
local calls = { unpack_(CALLS[1]) }
for i = 1, #calls, 7 do
  local prefix, hint, forget = calls[i + 1], calls[i + 3], calls[i + 5]
  ARGV = calls[i + 6]
  self = ARGV[1] .. '@' .. ARGV[2]
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5] = prefix .. 'store', prefix .. 'fence', prefix .. calls[i + 2], prefix .. 'own:' .. self, prefix .. 'due'
  if hint ~= '' then redis.call('SET', hint, calls[i + 4]) end
  local ok, answer = pcall(decisions[calls[i]])
  if not ok then
    to_copies()
    answers[#answers + 1] = { ERROR, type(answer) == 'table' and answer.err or tostring(answer) }
  else
    answers[#answers + 1] = answer
    if forget ~= '' and answer[1] == GRANTED then redis.call('DEL', forget) end
  end
end
return pack(answers)
