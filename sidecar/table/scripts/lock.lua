-- Takes or lets go byte-range locks of one LOCK request. MS-SMB2 3.3.5.14 (lock sequences), 3.3.5.14.1 (unlocks: one after the
-- other, those done stay done), 3.3.5.14.2 (locks: all or none); MS-FSA 2.1.4.10 (which ranges conflict), 2.1.5.8, 2.1.5.9.
-- A shared lock may lie upon an exclusive one of the same open, as Windows has it.
-- Uses: counts file state holding caching
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 openId 4 operation number 5 sequence index (0: none) 6 sequence number 7 wait (1: note the caller as a
--      waiter if not granted) 8 number of elements, then per element: unlock, exclusive, start high, start low, end high, end low
-- Returns {outcome, file state, notices of breaks, owners to push to, owners whose waiters may try again, lock sequences}
local MAX_LOCKS = 8192 -- of one file, so that a script stays short
local no = refused()
if no then return { no } end
local id = ARGV[3]
local file = load(KEYS[3], id)
local open = file.open
if not open or open[O_OWNER] ~= self or open[O_STATE] ~= ACTIVE then return { NOT_FOUND } end
local op, index, number = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if op < open[O_OP] then return { STALE } end
if op == open[O_OP] and open[O_RESULT] then
  return { open[O_RESULT], file_state(file), {}, others(file), {}, open[O_SEQUENCES] }
end
if index > 0 and index <= 64 and open[O_SEQUENCES] ~= '' and string.byte(open[O_SEQUENCES], index) == number then
  return { GRANTED, file_state(file), {}, {}, {}, open[O_SEQUENCES] } -- a replay of what succeeded
end

local function sequence(value)
  if index < 1 or index > 64 then return end
  local s = open[O_SEQUENCES]
  if s == '' then s = string.rep('\255', 64) end
  open[O_SEQUENCES] = string.sub(s, 1, index - 1) .. string.char(value) .. string.sub(s, index + 1)
end
local function before(high1, low1, high2, low2) return high1 < high2 or (high1 == high2 and low1 < low2) end
local function overlap(a, b)
  return before(a[L_START_HIGH], a[L_START_LOW], b[L_END_HIGH], b[L_END_LOW])
    and before(b[L_START_HIGH], b[L_START_LOW], a[L_END_HIGH], a[L_END_LOW])
end
local function same_range(a, b)
  return a[L_START_HIGH] == b[L_START_HIGH] and a[L_START_LOW] == b[L_START_LOW] and a[L_END_HIGH] == b[L_END_HIGH]
    and a[L_END_LOW] == b[L_END_LOW]
end

local outcome, taken, released = GRANTED, 0, 0
local had = #file.locks
for i = 1, tonumber(ARGV[8]) do
  local at = 9 + (i - 1) * 6
  local lock = {
    id, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]),
  }
  if ARGV[at] == '1' then
    local found
    for j, held in ipairs(file.locks) do
      if held[L_OPEN] == id and same_range(held, lock) and (not found or held[L_EXCLUSIVE] == 1) then
        found = j
        if held[L_EXCLUSIVE] == 1 then break end
      end
    end
    if not found then
      outcome = RANGE_NOT_LOCKED
      break
    end
    table.remove(file.locks, found)
    released = released + 1
  else
    for _, held in ipairs(file.locks) do
      if overlap(held, lock) then
        local both_shared = held[L_EXCLUSIVE] == 0 and lock[L_EXCLUSIVE] == 0
        local stacked = held[L_OPEN] == id and held[L_EXCLUSIVE] == 1 and lock[L_EXCLUSIVE] == 0
        if not both_shared and not stacked then outcome = LOCK_NOT_GRANTED end
      end
    end
    if #file.locks >= MAX_LOCKS then outcome = TOO_MANY end
    if outcome ~= GRANTED then break end
    file.locks[#file.locks + 1] = lock
    taken = taken + 1
  end
end
if outcome ~= GRANTED and taken > 0 then -- all or none: they lie at the end of the list
  for _ = 1, taken do table.remove(file.locks) end
  taken = 0
end

local breaks, push, wake = {}, {}, {}
if taken > 0 and not is_empty(file.holders) then
  local contention = contend(file, holder_id(id, open), 0, 0, false)
  if contention.away then return { WAITING } end
  if contention.purge then return { PURGE } end
  breaks = contention.notices
end
if taken > 0 or released > 0 then
  file.meta[M_VERSION] = file.meta[M_VERSION] + 1
  push = others(file)
end
if released > 0 then
  for owner in pairs(file.waiters) do wake[#wake + 1] = owner end
  file.waiters = {}
end
if outcome == LOCK_NOT_GRANTED and ARGV[7] == '1' then
  file.waiters[self] = true
  save(file, 'w')
  return { outcome, file_state(file), {}, {}, {}, open[O_SEQUENCES] } -- not an end of the operation: it is tried again
end
sequence(outcome == GRANTED and number or 255)
open[O_OP] = op
open[O_RESULT] = outcome
if taken > 0 or released > 0 then save(file, 'mlhw') end
save_open(file, id, open)
return { outcome, file_state(file), breaks, push, wake, open[O_SEQUENCES] }
