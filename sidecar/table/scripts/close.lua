-- Ends an open. MS-SMB2 3.3.5.10, MS-FSA 2.1.5.5: the last open of a delete-pending file begins its removal.
-- Uses: counts file fleeting member state holding locks ending
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 openId 4 repeated (1: the answer to the same request may have been lost)
--      5 the open as the caller knows it 6 to 8 what else the record holds if nobody else has the file open: see open.lua. '': the caller does
--      not know it, or its record was to be fleeting: then there is nothing to compare
-- ELSEWHERE: it has another owner, so nothing ends here; it is not the same as an open that is gone.
-- Returns {outcome, remove, share, path, owners to push the file state to, owners whose lock waiters may try again, file state};
-- {GRANTED} alone when the record went with it
local no = refused()
if no then return { no } end
local id = ARGV[3]
local f
if ARGV[5] == '' then
  past_copies()
  local has_ended = end_fleeting(KEYS[3], KEYS[4], id, member(id), packed_self())
  to_copies()
  if has_ended then return { GRANTED } end
else
  f = fields(KEYS[3], id)
  -- The record is what the caller knows, and nothing is locked or waited for: no flag of it asks for more than that it goes.
  if f[6] and f[6] == ARGV[5] and f[2] == ARGV[7] and (f[4] or '') == ARGV[8] and not f[3] and not f[5]
    and string.sub(f[1], -#ARGV[6]) == ARGV[6] then
    redis.call('DEL', KEYS[3])
    redis.call('SREM', KEYS[4], member(id))
    return { GRANTED }
  end
end
local file = load(KEYS[3], id, nil, f)
local unlinking = file.meta[M_UNLINKING]
if not file.open then
  -- A copy of the store that was taken while its record was fleeting may name it still.
  redis.call('SREM', KEYS[4], member(id))
  if unlinking and unlinking[1] == id then return { GRANTED, 1, unlinking[2], unlinking[3], {}, {}, file_state(file) } end
  return { ARGV[4] == '1' and GRANTED or NOT_FOUND, 0, '', '', {}, {}, file_state(file) }
end
if file.open[O_OWNER] ~= self then return { ELSEWHERE, 0, '', '', {}, {}, file_state(file) } end
local remove, share, path, push, wake = end_open(file, id, file.open)
return { GRANTED, remove, share, path, push, wake, file_state(file) }
