-- Counts what the partition holds.
--
-- KEYS[1]  the partition's meta key
-- Returns  now, tasks queued, processing, delayed, in parked batches, bytes of their inputs

local now = clock()
local counts = redis.call('HMGET', META, 'q', 'p', 'w')
local parked = 0
for _, id in ipairs(redis.call('SMEMBERS', PARKED)) do
  parked = parked + (redis.call('HGET', BATCH .. id, 'q') or 0)
end
return { now, tonumber(counts[1] or 0), tonumber(counts[2] or 0), redis.call('ZCOUNT', DELAYED, '(' .. now, '+inf'), parked,
  tonumber(counts[3] or 0) }
