-- What scripts share: each gets those of these functions that it uses, with what those use. Capitalised names stand for what
-- script.rs puts in their place. A function and what is said of it have no blank line between them.

-- The instant in milliseconds, by Redis's own clock.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whether a fence lets its holder move the task whose record or lease begins with `head`: the same revision, of no later
-- epoch.
local function fits(fence, head)
  if string.sub(head, 1, FENCE_LEN) == fence then return true end
  if #head < FENCE_LEN or string.sub(head, 5, FENCE_LEN) ~= string.sub(fence, 5) then return false end
  return struct.unpack('>I4', head) < struct.unpack('>I4', fence)
end

-- One command over a list, or the part from `first` to `last`, that may be too long for one call. Answers the last reply.
local function spread(command, key, list, first, last)
  local reply
  last = last or #list
  for from = first or 1, last, CHUNK do
    reply = redis.call(command, key, unpack(list, from, math.min(from + CHUNK - 1, last)))
  end
  return reply
end

-- The ids that stand one behind the other in a string, from byte `at` on.
local function ids_in(text, at)
  local ids = {}
  for from = at, #text, ID_LEN do ids[#ids + 1] = string.sub(text, from, from + ID_LEN - 1) end
  return ids
end

-- Has the reaper look at tasks whose leases were given together, once those have run out.
local function time_leases(expiry, ids)
  redis.call('ZADD', TIMER, expiry, 'l' .. struct.pack('>i8', expiry) .. ids)
end

-- Has a batch whose list was empty take turns, as the last (`RPUSH`) or as the first. One that is parked or short of budget
-- has no turn.
local function join(command, priority, batch)
  local held = redis.call('HMGET', BATCH .. batch, 'parked', 'short')
  if not held[1] and not held[2] then redis.call(command, TURNS .. priority, batch) end
end

-- Has a batch that was short of budget take turns behind the others, if there may be room now. Answers whether it does.
local function let_go_on(id, budget, spent, reserved, short, amended)
  if not short or (reserved > 0 and spent + reserved + short > tonumber(budget)) then return false end
  redis.call('HDEL', BATCH .. id, 'short')
  amended[#amended + 1] = id
  for _, priority in ipairs({ HIGH, NORMAL, LOW }) do
    if redis.call('EXISTS', READY .. priority .. id) == 1 then join('RPUSH', priority, id) end
  end
  return true
end

-- A part of an announcement; its layout is that of message.rs.
local function section(kind, count, entries)
  return struct.pack('>BI4', kind, count) .. entries
end

-- Appends entries to a batch's log. Answers that part of an announcement, and how many entries there are by now.
local function write_log(batch, entries)
  local reaches = redis.call('APPEND', LOG .. batch, entries) / LOG_ENTRY_LEN
  return section(MOVED, #entries / LOG_ENTRY_LEN, batch .. struct.pack('>I8', reaches) .. entries), reaches
end

-- The fields of the `nth` batch that a call writes to, in the order of BATCH_FIELDS. Where there are many nobody is told how their
-- logs end: then only those of BATCH_STATE, with which the others begin.
local function read_batch(batch, nth)
  if nth > PIECES_MAX then return redis.call('HMGET', BATCH .. batch, BATCH_STATE) end
  return redis.call('HMGET', BATCH .. batch, BATCH_FIELDS)
end

-- The ends of logs as they are now, for who has just written to so many batches: the epoch, and of each log its batch, how many
-- entries there are, those written, and the batch's fields. None where there are many: whoever watches them reads them.
local function pieces_of(epoch, logs, batches)
  if batches > PIECES_MAX then return { epoch } end
  return { epoch, unpack(logs) }
end

-- Tells whoever listens what a call has changed, which has that number; `call` is the name that its caller gave it.
local function publish(epoch, seq, sections, call)
  redis.call(PUBLISH, CHANNEL, struct.pack('>I4I8', epoch, seq) .. (call or NO_CALL) .. sections)
end

-- Numbers what this call changed and tells it. Answers the number.
local function announce(sections)
  local seq = redis.call('HINCRBY', META, 'seq', '1')
  publish(redis.call('HGET', META, 'epoch') or 0, seq, sections)
  return seq
end

-- Lets a finished batch go, some time after the last of its tasks. A sweep removes what else there is of it.
local function retire(batch, keep)
  local at = keep + TOMBSTONE_MS
  redis.call('PEXPIREAT', BATCH .. batch, at)
  redis.call('PEXPIREAT', LOG .. batch, at)
end

