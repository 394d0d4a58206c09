-- Changes one open, or the file through it.
--   'deletePending' value (MS-FSA 2.1.5.15.3), 'deleteOnClose' value, 'attachment' value, 'resilient' timeout in ms (MS-SMB2
--   3.3.5.15.9), 'beginRename' -, 'endRename' new path ('' = not done)
-- A rename, and a file that is to be deleted, ask for the handles that others cache first (MS-FSA 2.1.5.15.3, 2.1.5.15.12, 2.1.4.12).
-- Uses: counts file state holding caching
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 openId 4 what 5 value 6 it has waited already
-- Returns {outcome, delete pending, notices of breaks, breaks to wait for}
local no = refused()
if no then return { no } end
local id, what, value = ARGV[3], ARGV[4], ARGV[5]
local file = load(KEYS[3], id)
local open = file.open
if not open or open[O_OWNER] ~= self then return { NOT_FOUND, 0 } end
local deletes = value == '1' and (what == 'deletePending' or what == 'deleteOnClose')
if not is_empty(file.holders) and (what == 'beginRename' or deletes) then
  local contention = contend(file, holder_id(id, open), 5, 2, ARGV[6] == '1', function(holder, h)
    if #holder == 8 then return h[H_VERSION] ~= SERVERS_OWN end
    return what == 'deleteOnClose'
  end)
  local waits = not is_empty(contention.wait)
  if waits then file.waiters[self] = true end
  if contention.changed or waits then save(file, waits and 'mhw' or 'mh') end
  if waits then return { BREAKING, 0, contention.notices, flat(contention.wait) } end
  if contention.away then return { WAITING, 0 } end
  if contention.purge then return { PURGE, 0 } end
end
if what == 'deletePending' then
  file.meta[M_DELETE_PENDING] = tonumber(value)
  save(file, 'm')
elseif what == 'deleteOnClose' then
  open[O_DELETE_ON_CLOSE] = tonumber(value)
  save_open(file, id, open)
elseif what == 'attachment' then
  open[O_ATTACHMENT] = value
  save_open(file, id, open)
elseif what == 'resilient' then
  local h = holder_of(file, id, open)
  if h then hold(h, open, -1) end
  count(file.counts, open, -1)
  if open[O_DURABILITY] ~= PERSISTENT then open[O_DURABILITY] = RESILIENT end
  open[O_TIMEOUT] = tonumber(value)
  count(file.counts, open, 1)
  if h then hold(h, open, 1) end
  save(file, h and 'ch' or 'c')
  save_open(file, id, open)
elseif what == 'beginRename' then
  local renaming = file.meta[M_RENAMING]
  if renaming and renaming[1] ~= id and standing(renaming[2]) == 'valid' then return { NAME_BUSY, 0 } end
  if file.meta[M_DELETE_PENDING] == 1 then return { DELETE_PENDING, 1 } end
  file.meta[M_RENAMING] = { id, self, value }
  save(file, 'm')
elseif what == 'endRename' then
  file.meta[M_RENAMING] = false
  if value ~= '' then
    local name = file.meta[M_NAMES][open[O_NAME]]
    name[2] = value
  end
  save(file, 'm')
end
return { GRANTED, file.meta[M_DELETE_PENDING] }
