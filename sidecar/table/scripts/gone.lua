-- A file was unlinked, or turned out to be gone: its record goes. 'replace' begins the removal of a file that a rename is about to
-- replace (refused while it is open: MS-FSA 2.1.5.15.11), 'keep' takes that back.
-- Uses: file
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- 'look' tells whether the file is being removed, and asks again to be told later.
-- ARGV 1 serverId 2 epoch 3 'gone', 'replace', 'keep' or 'look'
-- Returns {outcome}; 'look': {GRANTED, share, path} or NOT_FOUND
local no = refused()
if no then return { no } end
local file = load(KEYS[3], '')
local open = false
for owner, classes in pairs(file.counts) do
  for class in pairs(classes) do
    if not (class == 'n' and standing(owner) == 'fenced') then open = true end
  end
end
local entry = 'unlink:' .. string.match(KEYS[3], ':file:(.*)$')
if ARGV[3] == 'look' then
  local unlinking = file.meta[M_UNLINKING]
  if not unlinking then
    redis.call('ZREM', KEYS[5], entry)
    return { NOT_FOUND }
  end
  redis.call('ZADD', KEYS[5], tick() + 10, entry)
  return { GRANTED, unlinking[2], unlinking[3] }
end
if ARGV[3] == 'replace' then
  if open then return { ACCESS_DENIED } end
  if file.meta[M_UNLINKING] then return { file.meta[M_UNLINKING][1] == self and GRANTED or DELETE_PENDING } end
  file.meta[M_UNLINKING] = { self, '', '' }
  save(file, 'm')
  redis.call('ZADD', KEYS[5], tick() + 30, entry)
  return { GRANTED }
end
if ARGV[3] == 'gone' and open and not file.meta[M_UNLINKING] then return { NOT_FOUND } end
redis.call('ZREM', KEYS[5], entry)
if file.meta[M_UNLINKING] or not open then redis.call('DEL', KEYS[3]) end
return { GRANTED }
