-- A write that comes after all decisions made until now: what WAIT, which follows on the same connection, asks replicas about.
--
-- KEYS 1 any key of the shard or the store
redis.call('SET', KEYS[1], '1')
return 1
