-- Names tasks that time has run out for. Forgets timers under which there is nothing left to time, so that they cannot
-- pile up.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 how many
-- Returns  now, '1' when there was more to look at than one call should, then the ids

local max, now = tonumber(ARGV[1]), clock()
local reply, seen, over, looked = { now, '0' }, {}, {}, 0

local function name(id)
  if not seen[id] then
    seen[id] = true
    reply[#reply + 1] = id
  end
end

-- Names those whose leases have run out. Answers whether there are any.
local function name_lost(ids)
  local any = false
  looked = looked + #ids
  for i, lease in ipairs(redis.call('HMGET', HELD, unpack(ids))) do
    if lease and struct.unpack('>i8', lease, LEASE_EXPIRY_AT + 1) <= now then
      if redis.call('EXISTS', TASK .. ids[i]) == 0 then
        redis.call('HDEL', HELD, ids[i])
      else
        name(ids[i])
        any = true
      end
    end
  end
  return any
end

-- The id so many steps behind the first one.
local function id_at(first, steps)
  local high, low = struct.unpack('>I4I4', first, 9)
  low = low + steps
  return string.sub(first, 1, 8) .. struct.pack('>I4I4', high + math.floor(low / 4294967296), low % 4294967296)
end

-- Names those of a range that are past their deadline: a record says queued until its task has ended. Answers whether there
-- are any.
local function name_late(range, batch)
  local counts = redis.call('HMGET', BATCH .. batch, 'q', 'p')
  if (counts[1] or 0) + (counts[2] or 0) == 0 then return false end
  local any = false
  for steps = 0, struct.unpack('>I4', range, ID_LEN + 1) - 1 do
    if #reply - 2 >= max then return true end
    looked = looked + 1
    local id = id_at(range, steps)
    local head = redis.call('GETRANGE', TASK .. id, '0', HEAD_END)
    if #head == HEAD_LEN and string.byte(head, STATUS_AT + 1) == QUEUED and
      struct.unpack('>i8', head, DEADLINE_AT + 1) <= now then
      name(id)
      any = true
    end
  end
  return any
end

for _, timer in ipairs(redis.call('ZRANGEBYSCORE', TIMER, '-inf', now, 'LIMIT', 0, TIMERS_MAX)) do
  if #reply - 2 >= max or looked >= OVERDUE_LOOK_MAX then
    reply[2] = '1'
    break
  end
  local any
  if string.sub(timer, 1, 1) == 'l' then
    any = name_lost(ids_in(timer, 10))
  else
    any = name_late(string.sub(timer, 2, RANGE_LEN + 1), string.sub(timer, RANGE_LEN + 2))
  end
  if not any then over[#over + 1] = timer end
end
spread('ZREM', TIMER, over)
if #over == TIMERS_MAX then reply[2] = '1' end
return reply
