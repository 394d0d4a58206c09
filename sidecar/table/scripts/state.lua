-- The state of a file: its version, who caches reads, its locks; and optionally has others give up what they cache, or gives up
-- what an open does. MS-FSA 2.1.4.12.
-- Uses: counts file state holding caching
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 what: 'look', 'break', 'drop' (that of the open) 4 openId 5 bits of the lease state that others may keep
--      6 bits whose holders have to give them up first 7 the operation has waited already
--      8 of a directory: the lease (ClientGuid, key) that the change comes from
-- Returns {outcome, file state, notices, breaks to wait for}: GRANTED, BREAKING, WAITING or PURGE
local no = refused()
if no then return { no } end
local file = load(KEYS[3], ARGV[4])
if ARGV[3] == 'break' and not is_empty(file.holders) then
  local mine = file.open and holder_id(ARGV[4], file.open)
  if ARGV[8] ~= '' then mine = ARGV[8] end
  local contention = contend(file, mine, tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1')
  local waits = not is_empty(contention.wait)
  if waits then file.waiters[self] = true end
  if contention.changed or waits then save(file, waits and 'mhw' or 'mh') end
  local outcome = waits and BREAKING or contention.away and WAITING or contention.purge and PURGE or GRANTED
  return { outcome, file_state(file), contention.notices, flat(contention.wait) }
end
if ARGV[3] == 'drop' and file.open and leave(file, ARGV[4], file.open) then
  file.open[O_OPLOCK] = OPLOCK_NONE
  save_open(file, ARGV[4], file.open)
  save(file, 'mh')
end
return { GRANTED, file_state(file), {}, {} }
