-- Several decisions in one call, in the order given. Each is as if it were called alone; an error in one is its own answer, and the
-- others go on. What is paid once a call (the way into Lua, the closures, the transaction in the append-only file) is shared.
-- For a store that is one process: the decisions are on files of any shard, so their keys are in the packed arguments.
--
-- ARGV one a decision: {script, prefix of its keys, {rests of its keys}, {arguments}, key of a hint or '', its value}
-- Returns a packed list: the decisions' answers, or {ERROR, text}
local ERROR = 106 -- for the sidecar only, as those of common.lua
local answers = {}
for i = 1, #CALLS do
  local call = unpack_(CALLS[i])
  KEYS, ARGV = call[3], call[4]
  for k = 1, #KEYS do KEYS[k] = call[2] .. KEYS[k] end
  self = ARGV[1] .. '@' .. ARGV[2]
  if call[5] ~= '' then redis.call('SET', call[5], call[6]) end
  local ok, answer = pcall(decisions[call[1]])
  answers[i] = ok and answer or { ERROR, type(answer) == 'table' and answer.err or tostring(answer) }
end
return pack(answers)
