-- Ends an open that nobody waits for any more: its timeout has run out, it ended with its server, or a newcomer may purge it.
-- handoff.md, "Failover"; MS-SMB2 3.3.6.1 (durable open scavenger).
-- Uses: counts file member state holding locks ending
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 openId 4 why: 'due' (the entry in due is reached), 'fenced' (its owner is: ends what is not durable, after a
--      node's death also durable opens that may write, and what has timed out since the fence), 'purge' (disconnected, not persistent), 'instance' (its
--      application has come back at another client: disconnected, MS-SMB2 3.3.5.9.13) 5 in whose set it was found, or ''
-- Returns as close.lua does, NOT_FOUND when there is nothing to end; then ticks that the orphan still may wait (0: it is none),
-- createGuid, clientGuid, owner of what was ended
local no = refused()
if no then return { no } end
local id, why = ARGV[3], ARGV[4]
local file = load(KEYS[3], id)
local open = file.open
local nothing = { NOT_FOUND, 0, '', '', {}, {}, file_state(file), 0, '', '', '' }
if not open then
  redis.call('ZREM', KEYS[5], member(id))
  if ARGV[5] ~= '' then redis.call('SREM', own_key(ARGV[5]), member(id)) end -- see close.lua
  return nothing
end
local owner = open[O_OWNER]
local state = standing(owner)
if state == 'settling' then
  nothing[8] = 1
  return nothing
end
local ends = false
if why == 'due' then
  local at = redis.call('ZSCORE', KEYS[5], member(id))
  ends = open[O_STATE] ~= ACTIVE and at and tonumber(at) <= tick()
elseif why == 'purge' then
  ends = open[O_DURABILITY] == DURABLE and (open[O_STATE] ~= ACTIVE or state == 'fenced')
elseif why == 'instance' then
  ends = open[O_STATE] ~= ACTIVE or state == 'fenced'
elseif state == 'fenced' then
  local phase = redis.call('HGET', KEYS[2], owner)
  local at, node_lost = 0, false
  if phase then
    at = tonumber(string.match(phase, '^%u(%d+)'))
    node_lost = string.sub(phase, -1) == 'n'
  end
  local _, write = arbitrated(open[O_ACCESS])
  ends = open[O_DURABILITY] == NOT_DURABLE
    or (open[O_DURABILITY] ~= PERSISTENT and node_lost and write)
  local left = at + math.ceil(open[O_TIMEOUT] / 1000) + 1 - tick()
  if phase and left <= 0 then ends = true end
  if not ends then nothing[8] = math.max(left, 1) end
else
  redis.call('SREM', own_key(owner), member(id))
end
if not ends then return nothing end
local remove, share, path, push, wake = end_open(file, id, open)
return { GRANTED, remove, share, path, push, wake, file_state(file), 0, open[O_CREATE_GUID], open[O_CLIENT_GUID], owner }
