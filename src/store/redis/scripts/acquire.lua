-- Hands tasks to a worker: by priority, then in order; every AGING-th start is the least urgent one's.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 worker, 8 bytes   2 how many tasks   3 lease, ms   4 request, 8 bytes: the same when a call is repeated
-- Returns  now, number of the announcement or 0, '1' when more could be started at once, when the next delayed task is due or '', the epoch,
--          then id and record of every task started: as it was before, or, in a repeated call, as it is

local worker, max, lease, request = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local now = clock()

-- The answer to an earlier call was lost: the same tasks again, as far as this worker still holds them.
local function again(ids)
  local reply = { now, 0, '1', '', tonumber(redis.call('HGET', META, 'epoch') or 0) }
  for at = 1, #ids, ID_LEN do
    local id = string.sub(ids, at, at + ID_LEN - 1)
    local record = redis.call('GET', TASK .. id)
    local holder = record and string.sub(record, #record - TRANSITION_LEN + 9, #record - TRANSITION_LEN + 16)
    if holder == worker and string.byte(record, STATUS_AT + 1) == PROCESSING then
      reply[#reply + 1] = id
      reply[#reply + 1] = record
    end
  end
  return reply
end

local claim = redis.call('GET', CLAIM .. worker)
if claim and string.sub(claim, 1, #request) == request then
  return again(string.sub(claim, #request + 1))
end

-- Tasks that have become due go to the tail of their list first.
local function promote()
  local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, PROMOTE_MAX)
  if #due == 0 then return end
  redis.call('ZREM', DELAYED, unpack(due))
  for _, id in ipairs(due) do
    local priority = string.byte(redis.call('GETRANGE', TASK .. id, PRIORITY_AT, PRIORITY_AT))
    if priority then redis.call('RPUSH', READY .. priority, id) end
  end
end
promote()

local queues = { READY .. HIGH, READY .. NORMAL, READY .. LOW }
local lengths = {}
for i, queue in ipairs(queues) do lengths[i] = redis.call('LLEN', queue) end
local state = redis.call('HMGET', META, 'picks', 'epoch')
local picks, epoch = tonumber(state[1] or 0), tonumber(state[2] or 0)
local reply, timers, moved, claimed = { now, 0, '', '', epoch }, {}, {}, {}
local batches, seen = {}, {}
local started, bytes = 0, 0
-- Written once: a script's numbers cost it time to write.
local expiry = string.format('%.0f', now + lease)

-- The list to take from next, and how many.
local function choose()
  local urgent, least
  for i = 1, 3 do
    if lengths[i] > 0 then
      urgent, least = urgent or i, i
    end
  end
  local want = math.min(max - started, POP_MAX)
  if urgent ~= least then
    local before_aging = AGING - 1 - picks % AGING
    if before_aging == 0 then return least, 1 end
    want = math.min(want, before_aging)
  end
  return urgent, want
end

local function batch_of(id)
  local batch = batches[id]
  if not batch then
    batch = { log = {}, held = redis.call('HEXISTS', BATCH .. id, 'parked') == 1 and {} }
    batches[id] = batch
    seen[#seen + 1] = id
  end
  return batch
end

-- Starts one task. Does nothing when its turn is over: gone, moved on, past its deadline, or held back.
local function start(id, key, record)
  if not record or #record < RECORD_MIN then return end
  local revision, status, progress, format, priority, attempt, _, deadline, batch_id =
    struct.unpack('>I8BBBBI4xxxxi8i8c16', record, 5)
  if status ~= QUEUED or deadline <= now then return end
  local batch = batch_of(batch_id)
  if batch.held then
    batch.held[#batch.held + 1] = id
    return
  end
  revision, attempt = revision + 1, attempt + 1
  local at = math.max(now, (struct.unpack('>i8', record, #record - TRANSITION_LEN + 1)))
  redis.call('SETRANGE', key, '0',
    struct.pack('>I4I8BBBBI4I4', epoch, revision, PROCESSING, progress, format, priority, attempt, 0))
  redis.call('APPEND', key,
    struct.pack('>i8c8BBI2I4', at, worker, PROCESSING, ACQUIRED, 0, attempt))
  local tail = struct.pack('>I4B', revision, PROCESSING)
  claimed[#claimed + 1] = id
  started, picks, bytes = started + 1, picks + 1, bytes + #record
  batch.log[#batch.log + 1] = id .. tail .. '\0\0\0'
  moved[started] = id .. batch_id .. tail
  timers[2 * started - 1], timers[2 * started] = expiry, id
  if deadline < now + lease then redis.call('ZADD', DEADLINES, deadline, id) end
  reply[#reply + 1] = id
  reply[#reply + 1] = record
end

local looked = 0
while started < max and looked < max + LOOK_MAX and bytes < REPLY_MAX do
  local queue, want = choose()
  if not queue then break end
  local ids = redis.call('LPOP', queues[queue], want)
  lengths[queue] = lengths[queue] - want
  if ids then
    looked = looked + #ids
    local keys = {}
    for i, id in ipairs(ids) do keys[i] = TASK .. id end
    local records = redis.call('MGET', unpack(keys))
    for i, id in ipairs(ids) do start(id, keys[i], records[i]) end
  end
end

for _, id in ipairs(seen) do
  local batch = batches[id]
  if batch.held then
    spread('RPUSH', HELD .. id, batch.held)
  else
    redis.call('HINCRBY', BATCH .. id, 'q', -#batch.log)
    redis.call('HINCRBY', BATCH .. id, 'p', #batch.log)
    redis.call('APPEND', LOG .. id, table.concat(batch.log))
  end
end
if started > 0 then
  spread('ZADD', TIMER, timers)
  redis.call('SET', CLAIM .. worker, request .. table.concat(claimed), 'PX', 2 * lease)
  redis.call('HSET', META, 'picks', picks)
  redis.call('HINCRBY', META, 'q', -started)
  redis.call('HINCRBY', META, 'p', started)
  reply[2] = announce(section(MOVED, started, table.concat(moved)))
end

for i = 1, 3 do
  if lengths[i] > 0 then reply[3] = '1' end
end
reply[4] = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2] or ''
return reply
