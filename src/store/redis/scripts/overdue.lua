-- Names tasks that time has run out for. Forgets entries whose task is gone, so that they cannot pile up.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 how many
-- Returns  now, then the ids

local now = clock()
local reply, seen = { now }, {}
for _, index in ipairs({ TIMER, DEADLINES }) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, ARGV[1])) do
    if redis.call('EXISTS', TASK .. id) == 0 then
      redis.call('ZREM', index, id)
    elseif not seen[id] then
      seen[id] = true
      reply[#reply + 1] = id
    end
  end
end
return reply
