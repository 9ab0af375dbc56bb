-- Names tasks that time has run out for. Timers are cut down to what is left to time under them, so that they cannot pile up,
-- and one whose tasks nobody can move costs no more than those.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 how many
-- Returns  now, '1' when there was more to look at than one call should, how many timers were cut down, then the ids

local max, now = tonumber(ARGV[1]), clock()
local reply, seen, over, anew, looked = { now, '0', 0 }, {}, {}, {}, 0

local function is_full()
  return #reply - 3 >= max or looked >= OVERDUE_LOOK_MAX
end

-- Names some, and has them keep a timer of their own in the place of the one that they had with others.
local function name(ids, kind, at)
  if #ids == 0 then return end
  anew[#anew + 1] = string.format('%.0f', at)
  anew[#anew + 1] = kind .. struct.pack('>i8', at) .. table.concat(ids)
  for _, id in ipairs(ids) do
    if not seen[id] then
      seen[id] = true
      reply[#reply + 1] = id
    end
  end
end

-- Those whose leases have run out.
local function lost(ids)
  local late = {}
  looked = looked + #ids
  for i, lease in ipairs(redis.call('HMGET', HELD, unpack(ids))) do
    if lease and (#lease ~= LEASE_LEN or struct.unpack('>i8', lease, LEASE_EXPIRY_AT + 1) <= now) then
      if redis.call('EXISTS', TASK .. ids[i]) == 0 then
        redis.call('HDEL', HELD, ids[i])
      else
        late[#late + 1] = ids[i]
      end
    end
  end
  return late
end

-- Whether a task is past its deadline: a record says queued until its task has ended.
local function is_late(id)
  looked = looked + 1
  local head = redis.call('GETRANGE', TASK .. id, '0', HEAD_END)
  return #head == HEAD_LEN and string.byte(head, STATUS_AT + 1) == QUEUED and struct.unpack('>i8', head, DEADLINE_AT + 1) <= now
end

-- The id so many steps behind the first one.
local function id_at(first, steps)
  local high, low = struct.unpack('>I4I4', first, 9)
  low = low + steps
  return string.sub(first, 1, 8) .. struct.pack('>I4I4', high + math.floor(low / 4294967296), low % 4294967296)
end

-- Names those of a range that are past their deadline, as far as it comes: the rest keeps a timer.
local function look_at_range(range, batch, at)
  local counts = redis.call('HMGET', BATCH .. batch, 'q', 'p')
  if (counts[1] or 0) + (counts[2] or 0) == 0 then return end
  local late, steps, count = {}, 0, struct.unpack('>I4', range, ID_LEN + 1)
  while steps < count and #late < max and not is_full() do
    local id = id_at(range, steps)
    if is_late(id) then late[#late + 1] = id end
    steps = steps + 1
  end
  name(late, 'i', at)
  if steps < count then
    anew[#anew + 1] = string.format('%.0f', at)
    anew[#anew + 1] = 'd' .. id_at(range, steps) .. struct.pack('>I4', count - steps) .. batch
  end
end

local function look_at(timer, at)
  local kind = string.sub(timer, 1, 1)
  if kind == 'd' then
    look_at_range(string.sub(timer, 2, RANGE_LEN + 1), string.sub(timer, RANGE_LEN + 2), at)
  elseif kind == 'l' then
    name(lost(ids_in(timer, 10)), 'l', at)
  else
    local late = {}
    for _, id in ipairs(ids_in(timer, 10)) do
      if is_late(id) then late[#late + 1] = id end
    end
    name(late, 'i', at)
  end
end

local due = redis.call('ZRANGEBYSCORE', TIMER, '-inf', now, 'WITHSCORES', 'LIMIT', 0, TIMERS_MAX)
if #due == 2 * TIMERS_MAX then reply[2] = '1' end
for i = 1, #due, 2 do
  if is_full() then
    reply[2] = '1'
    break
  end
  local before = #anew
  look_at(due[i], tonumber(due[i + 1]))
  if #anew - before ~= 2 or anew[#anew] ~= due[i] then
    over[#over + 1] = due[i]
  else
    -- It is as it was.
    anew[#anew], anew[#anew - 1] = nil, nil
  end
end
spread('ZREM', TIMER, over)
spread('ZADD', TIMER, anew)
reply[3] = #over
return reply
