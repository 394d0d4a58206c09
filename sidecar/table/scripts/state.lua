-- The state of a file: its version, whether reads are cached, its locks; and optionally gives up what an open caches, or all caching.
-- MS-FSA 2.1.4.12 (a change breaks level II oplocks).
-- Uses: file state caching
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 what: 'look', 'break' (all read caching), 'drop' (that of the open) 4 openId
-- Returns {outcome, file state, breaks {{openId, owner}}}
local no = refused()
if no then return { no } end
local file = load(KEYS[3], ARGV[4])
if ARGV[3] == 'break' and not is_empty(file.cachers) then
  local breaks = break_read_caching(file)
  save(file, 'mk')
  return { GRANTED, file_state(file), breaks }
end
if ARGV[3] == 'drop' and uncache(file, ARGV[4]) then
  if file.open then
    file.open[O_OPLOCK] = OPLOCK_NONE
    save_open(file, ARGV[4], file.open)
  end
  save(file, 'mk')
end
return { GRANTED, file_state(file), {} }
