-- Changes a batch as a whole.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 batch id   2 'resume' or 'close'   3 with 'resume': what the batch may spend from now on, or ''
-- Returns  the batch's fields afterwards; the first is nil when there is no such batch

local id, what = ARGV[1], ARGV[2]
local batch = BATCH .. id

-- What is ready takes the next turn. A budget that is not above what is spent or held ready changes nothing.
local function resume()
  local budget = ARGV[3]
  local state = redis.call('HMGET', batch, 'budget', 'spent', 'reserved', 'parked')
  local differs = false
  if budget ~= '' then
    if not state[1] or tonumber(budget) <= (state[2] or 0) + (state[3] or 0) then return false end
    differs = budget ~= state[1]
    redis.call('HSET', batch, 'budget', budget)
  end
  if not (state[4] or differs) then return false end
  if redis.call('HDEL', batch, 'parked', 'short') == 0 then return true end
  redis.call('SREM', PARKED, id)
  for _, priority in ipairs({ HIGH, NORMAL, LOW }) do
    if redis.call('EXISTS', READY .. priority .. id) == 1 then redis.call('LPUSH', TURNS .. priority, id) end
  end
  return true
end

local function close()
  local state = redis.call('HMGET', batch, 'open', 'q', 'p', 'keep')
  if state[1] ~= '1' then return false end
  redis.call('HSET', batch, 'open', 0)
  if state[2] + (state[3] or 0) == 0 then retire(id, state[4] or clock()) end
  return true
end

local changed
if what == 'resume' then changed = resume() else changed = close() end
if changed then announce(section(AMENDED, 1, id)) end
return redis.call('HMGET', batch, BATCH_FIELDS)
