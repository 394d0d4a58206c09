-- Hands opens of the caller's to another owner, or to nobody (released: any server may claim). One call a shard and batch.
-- Each open is compared by owner and ownership version and moved, or left; repeated, it finds what it has done.
-- Uses: counts file state holding due
--
-- KEYS 1 store 2 fence 3 key of a file without its id 4 own of the caller 5 due
-- ARGV 1 serverId 2 epoch 3 new owner ('-': nobody) 4 a packed list: openId, version expected, id of the file as its key has it, for each open
-- Returns {outcome, {per open: GRANTED, NOT_FOUND or STALE}}
local no, now = refused()
if no then return { no } end
local to = ARGV[3]
if to ~= '-' and standing(to) ~= 'valid' then return { INVALID } end
local opens = unpack_(ARGV[4])
local state = to == '-' and RELEASED or DISCONNECTED
local answers = {}
-- Entries that leave the caller's set, and scores and entries for "due": one call each for all opens.
local entries, due = {}, {}

-- The commonest case by far: nobody else has the file open, the client was there, and nothing is being broken. Then owner, version, state
-- and class are the only bytes to change in the packed records, and stand where they are looked for: nothing else of them is unpacked.
local CLASS = { [DURABLE] = 'd', [PERSISTENT] = 'p', [RESILIENT] = 'r' }
local from_self, to_other = pack(self), pack(to)
local counts, owners, after_class, length = {}, {}, {}, {}
for _, class in pairs(CLASS) do
  local before = '\129' .. from_self .. '\129\161' .. class -- {owner: {class:
  counts[class] = before .. '\152\1' -- a list of 8: one open
  owners[class] = before .. '\1'
  after_class[class] = '\129' .. to_other .. '\129\162w' .. class
  length[class] = #before
end
-- The beginning of an open's record, by its version: a list of 21, with what it becomes.
local heads = {}
local function head(version)
  local known = heads[version]
  if not known then
    known = { '\220\0\21' .. pack(LAYOUT, self, version, ACTIVE), '\220\0\21' .. pack(LAYOUT, to, version + 1, state) }
    heads[version] = known
  end
  return known[1], known[2]
end
local limited, find, sub = cmsgpack.unpack_limit, string.find, string.sub

-- The timeout of the open, or nil: it is not that case.
local function move_sole(key, field, version)
  local f = redis.call('HMGET', key, field, 'c', 'h')
  local o, c, h = f[1], f[2], f[3]
  if not o or not c then return nil end
  local before, after = head(version)
  if find(o, before, 1, true) ~= 1 then return nil end
  local _, _, _, durability, timeout = limited(o, 4, #before)
  local class = CLASS[durability]
  if not class or find(c, counts[class], 1, true) ~= 1 then return nil end
  local new_o, new_c = after .. sub(o, #before + 1), after_class[class] .. sub(c, length[class] + 1)
  if not h then
    redis.call('HSET', key, field, new_o, 'c', new_c)
    return timeout
  end
  if string.byte(h) ~= 129 then return nil end -- one holder
  local list = limited(h, 1, 1)
  local size = string.byte(h, list + 1)
  if not size or size < 153 or size > 159 then return nil end -- a list of 9 to 15
  local at, _, breaking_to = limited(h, 6, list + 1) -- up to H_PARENT
  if breaking_to ~= -1 or find(h, owners[class], at + 1, true) ~= at + 1 then return nil end
  redis.call('HSET', key, field, new_o, 'c', new_c, 'h', sub(h, 1, at) .. after_class[class] .. sub(h, at + 1 + length[class]))
  return timeout
end

-- Files with more to them, by key: each is read and written once, however many of its opens go.
local files = {}
local function loaded(key, id)
  local file = files[key]
  if not file then
    file = load(key, id)
    file.set = {}
    files[key] = file
    return file, file.open
  end
  local open = redis.call('HGET', key, 'o:' .. id)
  return file, open and unpack_(open)
end

for i = 1, #opens, 3 do
  local id, version, file_id = opens[i], opens[i + 1], opens[i + 2]
  local key = KEYS[3] .. file_id
  local timeout = not files[key] and move_sole(key, 'o:' .. id, version) or nil
  local waits = true -- from now on
  local answer = GRANTED
  if not timeout then
    local file, open = loaded(key, id)
    if not open then
      answer = NOT_FOUND
    elseif open[O_OWNER] == to and open[O_VERSION] == version + 1 then
      answer = GRANTED
    elseif open[O_OWNER] ~= self or open[O_VERSION] ~= version or open[O_DURABILITY] == NOT_DURABLE then
      answer = STALE
    else
      local h = holder_of(file, id, open)
      if h then hold(h, open, -1) end
      count(file.counts, open, -1)
      waits = open[O_STATE] == ACTIVE
      open[O_OWNER] = to
      open[O_VERSION] = version + 1
      open[O_STATE] = state
      count(file.counts, open, 1)
      if h then
        hold(h, open, 1)
        abandon(h)
        file.is_held = true
      end
      file.set[#file.set + 1] = 'o:' .. id
      file.set[#file.set + 1] = pack(open)
      timeout = open[O_TIMEOUT]
    end
  end
  if timeout then
    entries[#entries + 1] = id .. file_id
    if waits then
      due[#due + 1] = due_at(timeout, now)
      due[#due + 1] = id .. file_id
    end
  end
  answers[#answers + 1] = answer
end
for _, file in pairs(files) do
  if #file.set > 0 then save(file, file.is_held and 'ch' or 'c', file.set) end
end
if #entries > 0 then
  redis.call('SREM', KEYS[4], unpack(entries))
  redis.call('SADD', string.gsub(KEYS[2], ':fence$', '') .. ':own:' .. to, unpack(entries))
end
if #due > 0 then redis.call('ZADD', KEYS[5], unpack(due)) end
return { GRANTED, answers }
