-- Hands opens of the caller's to another owner, or to nobody (released: any server may claim). One call a shard and batch.
-- Each open is compared by owner and ownership version and moved, or left; repeated, it finds what it has done.
-- Uses: counts file state holding due
--
-- KEYS 1 store 2 fence 3.. one file key an open (the same file may stand there several times); own and due are derived from fence
-- ARGV 1 serverId 2 epoch 3 new owner ('-': nobody), then per open: openId, version expected
-- Returns {outcome, {per open: GRANTED, NOT_FOUND or STALE}}
local no, now = refused()
if no then return { no } end
local to = ARGV[3]
if to ~= '-' and standing(to) ~= 'valid' then return { INVALID } end
local shard = string.gsub(KEYS[2], ':fence$', '')
local answers = {}
-- Entries that leave the caller's set, and scores and entries for "due": one call each for all opens.
local entries, due = {}, {}
for i = 1, (#ARGV - 3) / 2 do
  local id, version = ARGV[2 + i * 2], tonumber(ARGV[3 + i * 2])
  local key = KEYS[2 + i]
  local file = load(key, id)
  local open = file.open
  if not open then
    answers[i] = NOT_FOUND
  elseif open[O_OWNER] == to and open[O_VERSION] == version + 1 then
    answers[i] = GRANTED
  elseif open[O_OWNER] ~= self or open[O_VERSION] ~= version or open[O_DURABILITY] == NOT_DURABLE then
    answers[i] = STALE
  else
    local entry = id .. string.match(key, ':file:(.*)$')
    local h = holder_of(file, id, open)
    if h then hold(h, open, -1) end
    count(file.counts, open, -1)
    entries[#entries + 1] = entry
    local was_waiting = open[O_STATE] ~= ACTIVE
    open[O_OWNER] = to
    open[O_VERSION] = version + 1
    open[O_STATE] = to == '-' and RELEASED or DISCONNECTED
    count(file.counts, open, 1)
    if h then
      hold(h, open, 1)
      abandon(h)
    end
    save(file, h and 'ch' or 'c', { 'o:' .. id, pack(open) })
    if not was_waiting then
      due[#due + 1] = due_at(open[O_TIMEOUT], now)
      due[#due + 1] = entry
    end
    answers[i] = GRANTED
  end
end
if #entries > 0 then
  redis.call('SREM', shard .. ':own:' .. self, unpack(entries))
  redis.call('SADD', shard .. ':own:' .. to, unpack(entries))
end
if #due > 0 then redis.call('ZADD', shard .. ':due', unpack(due)) end
return { GRANTED, answers }
