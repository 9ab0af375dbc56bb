-- Removes tasks past their retention, and what is left of batches that have expired, a bounded number of each.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 how many batches to skip   2 how many of them to look at
-- Returns  how many batches were looked at, how many were forgotten, how many tasks were removed, '1' when there is more to do at
--          once

local removed, budget, more = 0, RANGES_MAX, '0'
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', OLD, '-inf', clock(), 'LIMIT', 0, OLD_GROUPS)) do
  if removed >= OLD_MAX then
    more = '1'
    break
  end
  local ids, keys = ids_in(entry, 9), {}
  for i, id in ipairs(ids) do keys[i] = TASK .. id end
  if string.byte(entry) == OLD_WITH_PARTS then
    for _, id in ipairs(ids) do
      keys[#keys + 1] = SPEC .. id
      keys[#keys + 1] = OUTCOME .. id
    end
  end
  redis.call('UNLINK', unpack(keys))
  removed = removed + #ids
  redis.call('ZREM', OLD, entry)
end

-- Forgets the ranges of a batch, the last ones first. Answers whether that were all.
local function forget_ranges(id)
  local key = CALLS .. id
  local from = math.max(redis.call('STRLEN', key) - budget * RANGE_LEN, 0)
  local ranges, members = redis.call('GETRANGE', key, from, -1), {}
  for at = 1, #ranges, RANGE_LEN do members[#members + 1] = string.sub(ranges, at, at + RANGE_LEN - 1) .. id end
  spread('ZREM', RANGES, members)
  budget = budget - #members
  if from == 0 then
    redis.call('UNLINK', key)
    return true
  end
  redis.call('SET', key, redis.call('GETRANGE', key, 0, from - 1))
  more = '1'
  return false
end

local ids = redis.call('ZRANGE', BATCHES, ARGV[1], ARGV[1] + ARGV[2] - 1)
local gone = {}
for _, id in ipairs(ids) do
  if redis.call('EXISTS', BATCH .. id) == 0 and forget_ranges(id) then
    gone[#gone + 1] = id
    -- A turn clears the lists of other batches.
    if redis.call('SREM', PARKED, id) == 1 then
      redis.call('DEL', READY .. HIGH .. id, READY .. NORMAL .. id, READY .. LOW .. id)
    end
  end
end
spread('ZREM', BATCHES, gone)
return { #ids, #gone, removed, more }
