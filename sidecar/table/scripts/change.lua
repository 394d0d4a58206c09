-- Changes one open, or the file through it.
--   'deletePending' value (MS-FSA 2.1.5.15.3), 'deleteOnClose' value, 'attachment' value, 'beginRename' -, 'endRename' new path ('' = not done)
-- Uses: file
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 openId 4 what 5 value
-- Returns {outcome, delete pending}
local no = refused()
if no then return { no } end
local id, what, value = ARGV[3], ARGV[4], ARGV[5]
local file = load(KEYS[3], id)
local open = file.open
if not open or open[O_OWNER] ~= self then return { NOT_FOUND, 0 } end
if what == 'deletePending' then
  file.meta[M_DELETE_PENDING] = tonumber(value)
  save(file, 'm')
elseif what == 'deleteOnClose' then
  open[O_DELETE_ON_CLOSE] = tonumber(value)
  save_open(file, id, open)
elseif what == 'attachment' then
  open[O_ATTACHMENT] = value
  save_open(file, id, open)
elseif what == 'beginRename' then
  local renaming = file.meta[M_RENAMING]
  if renaming and renaming[1] ~= id and standing(renaming[2]) == 'valid' then return { NAME_BUSY, 0 } end
  if file.meta[M_DELETE_PENDING] == 1 then return { DELETE_PENDING, 1 } end
  file.meta[M_RENAMING] = { id, self }
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
