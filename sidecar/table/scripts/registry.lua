-- The servers of the cluster. One hash: serverId -> JSON {epoch, state, counter, ...}; states: active, draining, fencing, fenced, gone;
-- '#forgotten' -> {forgotten}: the highest epoch of those that were removed, which older versions do not read.
--
-- KEYS 1 servers 2 epoch 3 inbox of the caller 4 generation 5 the life of the data that was opened last
-- ARGV 1 serverId 2 epoch ('0': none yet) 3 what, 4 JSON of what goes with it 5 of 'register', 'restore' and 'open': the life of the
--      data that is open, or that is being put back 6 of 'register': the highest epoch that the caller knows of 7 of 'register': the
--      Redis processes that this life is in
--   'register' {fields}    a new incarnation: the next epoch, of which nobody has heard. Returns {1, epoch, epoch replaced or 0}, or
--                          {CLOSED}: the shards wait for the state of servers that may have epochs which this store does not know
--   'resume' {fields}      goes on under its epoch. Returns {1, block}, {FENCED}, or {0}: the store has never heard of this epoch
--   'restore' {fields, epoch, highest}  puts a server back into a store that has lost it. Returns {1, epoch replaced or 0}, {FENCED}, or
--                          {CLOSED}: too late, its shards were opened
--   'open' {generation}    the shards may be opened: whoever may live has put its state back, and nobody does from now on. Returns {1 or 0}
--   'renew' {counter, extensionMs, knows} Returns {1, all servers, inbox, run_id, generation, highest epoch} or {FENCED, all servers}
--   'set' {fields}         changes fields of its own. Returns {1} or {FENCED}
--   'fencing' {counter, by} sets fencing if the counter still is that one (or -1: whatever it is). Returns {1 or 0, state}
--   'fenced'               sets fenced. Returns {1}
--   'forget'               removes a server that is fenced or gone, and what was left for it. Returns {1}
--   'list'                 Returns {1, all servers}
local sid, what = ARGV[1], ARGV[3]
local given = cjson.decode(ARGV[4])
local text = redis.call('HGET', KEYS[1], sid)
local server = text and cjson.decode(text)
local function put(s) redis.call('HSET', KEYS[1], sid, cjson.encode(s)) end
local function merge(s)
  for k, v in pairs(given) do s[k] = v end
  return s
end
local function may_live(s) return s.state == 'active' or s.state == 'draining' or s.state == 'fencing' end
local function run_id() return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') end
-- The highest epoch of all that were forgotten: who is not there and has no higher one was fenced. A copy of the store that does not know
-- a server yet is from before all its epochs.
local function forgotten()
  local mark = redis.call('HGET', KEYS[1], '#forgotten')
  return mark and cjson.decode(mark).forgotten or 0
end
local mine = server and tostring(server.epoch) == ARGV[2] and (server.state == 'active' or server.state == 'draining')

if what == 'register' then
  if redis.call('GET', KEYS[5]) ~= ARGV[5] or not string.find(ARGV[7], run_id(), 1, true) then return { CLOSED } end
  -- Handed out by a store that has lost it: live servers may have others that nobody has told this one of.
  if tonumber(ARGV[6]) > tonumber(redis.call('GET', KEYS[2]) or '0') then redis.call('SET', KEYS[2], tonumber(ARGV[6]) + 4096) end
  local epoch = redis.call('INCR', KEYS[2])
  local old = server and server.epoch or 0
  local s = merge({ state = 'active' })
  s.epoch, s.counter, s.block = epoch, 0, 0
  put(s)
  redis.call('DEL', KEYS[3])
  return { 1, epoch, old }
elseif what == 'resume' then
  if not server or server.epoch < tonumber(ARGV[2]) then return { 0 } end
  if not mine then return { FENCED } end
  local state = server.state
  server = merge(server)
  if state == 'draining' then server.state = state end
  server.block = server.block + 1
  put(server)
  return { 1, server.block, server.state }
elseif what == 'restore' then
  -- That it was fenced is true whatever an older copy of the store says.
  if mine and given.state ~= 'fenced' then return { 1, 0 } end
  if server and server.epoch >= given.epoch and not mine then return { FENCED } end
  if not server and given.state ~= 'fenced' and given.epoch <= forgotten() then return { FENCED } end
  if redis.call('GET', KEYS[5]) == ARGV[5] then return { CLOSED } end
  local highest = tonumber(redis.call('GET', KEYS[2]) or '0')
  if highest < given.epoch + 4096 then redis.call('SET', KEYS[2], given.epoch + 4096) end
  put(merge({}))
  return { 1, not mine and server and server.epoch or 0 }
elseif what == 'open' then
  if redis.call('GET', KEYS[5]) == ARGV[5] then return { 1 } end
  if redis.call('GET', KEYS[4]) ~= given.generation then return { 0 } end
  for i, entry in ipairs(redis.call('HGETALL', KEYS[1])) do
    local s = i % 2 == 0 and cjson.decode(entry)
    if s and may_live(s) and s.reconciled ~= ARGV[5] then return { 0 } end
  end
  redis.call('SET', KEYS[5], ARGV[5])
  return { 1 }
elseif what == 'renew' then
  local all = redis.call('HGETALL', KEYS[1])
  if not mine then return { FENCED, all } end
  server = merge(server)
  put(server)
  local inbox = redis.call('LRANGE', KEYS[3], 0, 63)
  if #inbox > 0 then redis.call('LTRIM', KEYS[3], #inbox, -1) end
  return { 1, all, inbox, run_id(), redis.call('GET', KEYS[4]) or '', tonumber(redis.call('GET', KEYS[2]) or '0') }
elseif what == 'set' then
  if not mine then return { FENCED } end
  put(merge(server))
  return { 1 }
elseif what == 'fencing' then
  if not server or tostring(server.epoch) ~= ARGV[2] then return { 0, 'replaced' } end
  if server.state == 'fencing' or server.state == 'fenced' or server.state == 'gone' then return { 1, server.state } end
  if given.counter >= 0 and server.counter ~= given.counter then return { 0, server.state } end
  server.state, server.by, server.silent = 'fencing', given.by, given.silent
  put(server)
  return { 1, 'fencing' }
elseif what == 'fenced' then
  if server and tostring(server.epoch) == ARGV[2] then
    server.state = 'fenced'
    put(server)
  end
  return { 1 }
elseif what == 'forget' then
  if server and tostring(server.epoch) == ARGV[2] and (server.state == 'fenced' or server.state == 'gone') then
    redis.call('HDEL', KEYS[1], sid)
    redis.call('DEL', KEYS[3])
    if server.epoch > forgotten() then redis.call('HSET', KEYS[1], '#forgotten', cjson.encode({ forgotten = server.epoch })) end
  end
  return { 1 }
end
return { 1, redis.call('HGETALL', KEYS[1]) }
