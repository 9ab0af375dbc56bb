-- Says how much could be started.
--
-- KEYS[1]  the partition's meta key
-- Returns  now, how many tasks may be ready, when the next delayed task is due or ''

local now = clock()
local ready = redis.call('ZCOUNT', DELAYED, '-inf', now)
for _, priority in ipairs({ HIGH, NORMAL, LOW }) do ready = ready + redis.call('LLEN', READY .. priority) end
return { now, ready, redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2] or '' }
