-- A break comes to its end: the client acknowledges, or has not in time. MS-SMB2 3.3.5.22.1, 3.3.5.22.2; 3.3.6.5, 3.3.6.6 (the state
-- is none then). Where more was asked for meanwhile, the next break follows.
-- Uses: counts file state holding caching
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 holder 4 state acknowledged; -1: not in time 5 number of the break that this is about, 0: the one under way
-- Returns {outcome, state, notices, owners whose waiters may go on, file state, lease epoch}
local no = refused()
if no then return { no } end
local id, acknowledged, number = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local file = load(KEYS[3])
local h = file.holders[id]
if not h then return { NOT_FOUND } end
if h[H_TO] < 0 or (number > 0 and number ~= h[H_NUMBER]) then return { NOT_BREAKING, h[H_STATE], {}, {}, file_state(file), h[H_EPOCH] } end
local outcome = GRANTED
if acknowledged >= 0 and bit.band(acknowledged, h[H_TO]) ~= acknowledged then
  -- A lease goes on waiting for an answer that it can take; an oplock is lost by a wrong one.
  if #id > 8 then return { NOT_ACCEPTED, h[H_STATE], {}, {}, file_state(file), h[H_EPOCH] } end
  outcome, acknowledged = NOT_ACCEPTED, -1
end
caching_changes(file)
local notices = {}
local state = math.max(acknowledged, 0)
h[H_STATE], h[H_TO], h[H_TOLD] = state, -1, nil
local to = bit.band(state, h[H_REQUIRED])
if to ~= state then
  local here = presence(h)
  -- From more than R to nothing in two steps, as Windows goes on.
  if here then begin_break(file, id, h, (to == 0 and state ~= 1) and 1 or to, here, notices, true) end
  if here and h[H_TO] >= 0 then h[H_REQUIRED] = to end
end
if h[H_STATE] == 0 and #id == 8 then file.holders[id] = nil end
recached(file)
local wake = woken(file)
save(file, 'mhw')
return { outcome, state, notices, wake, file_state(file), h[H_EPOCH] }
