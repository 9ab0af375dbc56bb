-- Forgets batches that have expired, looking at a bounded number of them.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 how many to skip   2 how many to look at
-- Returns  how many were looked at, how many were forgotten

local ids = redis.call('ZRANGE', BATCHES, ARGV[1], ARGV[1] + ARGV[2] - 1)
local gone = {}
for _, id in ipairs(ids) do
  if redis.call('EXISTS', BATCH .. id) == 0 then
    gone[#gone + 1] = id
    -- A turn clears the lists of other batches.
    if redis.call('SREM', PARKED, id) == 1 then
      redis.call('DEL', READY .. HIGH .. id, READY .. NORMAL .. id, READY .. LOW .. id)
    end
  end
end
spread('ZREM', BATCHES, gone)
return { #ids, #gone }
