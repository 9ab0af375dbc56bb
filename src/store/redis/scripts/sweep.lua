-- Removes tasks past their retention, and what is left of batches that have expired, a bounded number of each.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 how many batches to skip   2 how many of them to look at
-- Returns  how many batches were looked at, how many were forgotten, how many tasks were removed

local removed = 0
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', OLD, '-inf', clock(), 'LIMIT', 0, OLD_MAX)) do
  local keys = {}
  for i, id in ipairs(ids_in(entry, 9)) do keys[i] = TASK .. id end
  removed = removed + redis.call('UNLINK', unpack(keys))
  redis.call('ZREM', OLD, entry)
end

local function forget_ranges(id)
  local ranges = redis.call('GET', CALLS .. id) or ''
  for at = 1, #ranges, RANGE_LEN do
    redis.call('ZREM', RANGES, string.sub(ranges, at, at + RANGE_LEN - 1) .. id)
  end
  redis.call('UNLINK', CALLS .. id)
end

local ids = redis.call('ZRANGE', BATCHES, ARGV[1], ARGV[1] + ARGV[2] - 1)
local gone = {}
for _, id in ipairs(ids) do
  if redis.call('EXISTS', BATCH .. id) == 0 then
    gone[#gone + 1] = id
    forget_ranges(id)
    -- A turn clears the lists of other batches.
    if redis.call('SREM', PARKED, id) == 1 then
      redis.call('DEL', READY .. HIGH .. id, READY .. NORMAL .. id, READY .. LOW .. id)
    end
  end
end
spread('ZREM', BATCHES, gone)
return { #ids, #gone, removed }
