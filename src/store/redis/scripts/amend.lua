-- Changes a batch as a whole.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 batch id   2 'resume' or 'close'
-- Returns  the batch's fields afterwards; the first is nil when there is no such batch

local id, what = ARGV[1], ARGV[2]
local batch = BATCH .. id

-- Held-back tasks go to the head of their lists, in their order, or wait until they are due.
local function unhold()
  local now, lists = clock(), {}
  local ids = redis.call('LRANGE', HELD .. id, 0, -1)
  for i = #ids, 1, -1 do
    local record = redis.call('GETRANGE', TASK .. ids[i], 0, HEAD_LEN - 1)
    if #record == HEAD_LEN and string.byte(record, STATUS_AT + 1) == QUEUED then
      local due, priority = struct.unpack('>i8', record, DUE_AT + 1), string.byte(record, PRIORITY_AT + 1)
      if due > now then
        redis.call('ZADD', DELAYED, due, ids[i])
      else
        lists[priority] = lists[priority] or {}
        table.insert(lists[priority], ids[i])
      end
    end
  end
  for priority, list in pairs(lists) do spread('LPUSH', READY .. priority, list) end
  redis.call('DEL', HELD .. id)
end

local function resume()
  if redis.call('HDEL', batch, 'parked') == 0 then return false end
  redis.call('SREM', PARKED, id)
  unhold()
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
return redis.call('HMGET', batch, unpack(BATCH_FIELDS))
