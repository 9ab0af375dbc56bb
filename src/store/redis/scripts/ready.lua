-- Says how much could be started.
--
-- KEYS[1]  the partition's meta key
-- Returns  now, how many tasks may be ready, when the next delayed task is due or ''

local now = clock()
local due = redis.call('ZCOUNT', DELAYED, '-inf', now)
local ready = due
if redis.call('EXISTS', TURNS .. HIGH, TURNS .. NORMAL, TURNS .. LOW) > 0 then
  -- With those of parked batches: it is a bound.
  local queued = redis.call('HGET', META, 'q') or 0
  ready = math.max(1, queued - (redis.call('ZCARD', DELAYED) - due))
end
return { now, ready, redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2] or '' }
