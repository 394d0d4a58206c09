-- Which Redis process a shard lives in, and under which one its state was written. For a Redis Cluster, where each master has shards.
--
-- KEYS 1 store
-- Returns {run_id, store}
return { string.match(redis.call('INFO', 'server'), 'run_id:(%w+)'), redis.call('GET', KEYS[1]) or '' }
