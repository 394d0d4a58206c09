-- Looks an open up by its CreateGuid and ClientGuid (MS-SMB2 3.3.5.9.10), or by its id where the guids are empty.
-- Uses: counts file state holding record
--
-- KEYS 1 store 2 fence 3 file 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 createGuid .. clientGuid 4 openId
-- Returns {outcome, record, file state}
local no = refused()
if no then return { no } end
local id = ARGV[4]
if ARGV[3] ~= '' then id = redis.call('HGET', KEYS[3], 'g:' .. ARGV[3]) end
if not id then return { NOT_FOUND } end
local file = load(KEYS[3], id)
if not file.open then return { NOT_FOUND } end
return { GRANTED, record(file, id, file.open), file_state(file) }
