-- Where an open may be. That there is no hint is an answer too: so it has to come from the store as it was left, and not from one that
-- has just come back empty.
--
-- KEYS 1 store 2 the hint
-- Returns {GRANTED, file id or nothing}
if redis.call('GET', KEYS[1]) ~= STORE then return { CLOSED } end
return { GRANTED, redis.call('GET', KEYS[2]) or '' }
