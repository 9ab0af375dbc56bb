-- Forgets the leads of cache keys.
--
-- KEYS[1]  the partition's meta key
-- ARGV     the cache keys
-- Returns  now, how many there were

local gone = 0
for _, key in ipairs(ARGV) do gone = gone + redis.call('DEL', LEAD .. key) end
return { clock(), gone }
