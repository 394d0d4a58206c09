-- The client of an open is gone. MS-SMB2 3.3.7.1: a durable or persistent open waits, any other is closed. A durable one does so only
-- while its handle is cached; what it cached stays its own until somebody else needs it.
-- Uses: counts file member state holding locks ending due
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 openId 4 repeated 5 attachment ('': as it was)
-- Returns as close.lua does, then 1 if it waits
local no = refused()
if no then return { no } end
local id = ARGV[3]
local file = load(KEYS[3], id)
local open = file.open
if not open then
  local unlinking = file.meta[M_UNLINKING]
  if unlinking and unlinking[1] == id then return { GRANTED, 1, unlinking[2], unlinking[3], {}, {}, file_state(file) } end
  return { ARGV[4] == '1' and GRANTED or NOT_FOUND, 0, '', '', {}, {}, file_state(file) }
end
if open[O_OWNER] ~= self then return { ELSEWHERE, 0, '', '', {}, {}, file_state(file) } end
local h = holder_of(file, id, open)
local ends = open[O_DURABILITY] == NOT_DURABLE
if open[O_DURABILITY] == DURABLE and open[O_STATE] == ACTIVE then
  ends = not h or bit.band(h[H_TO] >= 0 and h[H_TO] or h[H_STATE], 2) == 0
end
if ends then
  local remove, share, path, push, wake = end_open(file, id, open)
  return { GRANTED, remove, share, path, push, wake, file_state(file) }
end
if open[O_STATE] == ACTIVE then
  count(file.counts, open, -1)
  if h then hold(h, open, -1) end
  open[O_STATE] = DISCONNECTED
  if ARGV[5] ~= '' then open[O_ATTACHMENT] = ARGV[5] end
  count(file.counts, open, 1)
  if h then hold(h, open, 1) end
  local wake = h and abandon(h) and woken(file) or {}
  save(file, h and 'chw' or 'c')
  save_open(file, id, open)
  redis.call('ZADD', KEYS[5], due_at(open[O_TIMEOUT]), member(id))
  return { GRANTED, 0, '', '', {}, wake, file_state(file), 1 }
end
return { GRANTED, 0, '', '', {}, {}, file_state(file), 1 }
