-- Accepts tasks into a batch, all or none.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 batch id   2 what is expected of the batch: new, open, retry   3 '1' to leave it open
--          4 when the batch is created, ms   5 idempotency key or ''   6 hash of the content
--          7 the range of ids   8 first id   9 entries for the batch log   10 entries to announce
--          11 how many tasks   12 bytes of their inputs   13 tasks and 14 bytes that may be unfinished here
--          15 what a new batch may spend, or ''
--          then sections, each after its length: key and record of every task; deadline and id of every task;
--          ids ready to start by priority, urgent first; due, priority and id of those that may have to wait
-- Returns  now, number of the announcement or 0, then 'ok' and batch id with range, or 'reused', 'nobatch', 'closed',
--          'taken', or 'full' with the tasks and bytes that are unfinished

local batch, expected, keep_open, created = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local idempotency, hash, range, first = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local count, weight = tonumber(ARGV[11]), tonumber(ARGV[12])
local now = clock()
local made = batch .. range

if idempotency ~= '' then
  local before = redis.call('GET', IDEMPOTENCY .. idempotency)
  if before then
    if string.sub(before, 1, 32) ~= hash then return { now, 0, 'reused' } end
    return { now, 0, 'ok', string.sub(before, 33) }
  end
end

-- The same call again, after a reply that was lost.
local owner = redis.call('GETRANGE', TASK .. first, BATCH_AT, BATCH_AT + 15)
if owner == batch or redis.call('EXISTS', TOMBSTONE .. first) == 1 then return { now, 0, 'ok', made } end
if owner ~= '' then return { now, 0, 'taken' } end

local known = redis.call('HMGET', BATCH .. batch, 'open', 'parked', 'short')
if expected == 'new' then
  if known[1] then return { now, 0, 'taken' } end
else
  if not known[1] then return { now, 0, 'nobatch' } end
  if expected == 'open' and known[1] ~= '1' then return { now, 0, 'closed' } end
end

local held = redis.call('HMGET', META, 'q', 'p', 'w')
local tasks, bytes = (held[1] or 0) + (held[2] or 0), tonumber(held[3] or 0)
if tasks + count > tonumber(ARGV[13]) or bytes + weight > tonumber(ARGV[14]) then
  return { now, 0, 'full', tasks, bytes }
end

-- Steps from section to section: where the next one begins and ends.
local at = 16
local function next_section()
  local first, last = at + 1, at + tonumber(ARGV[at])
  at = last + 1
  return first, last
end

local from, to = next_section()
for start = from, to, CHUNK do
  redis.call('MSET', unpack(ARGV, start, math.min(start + CHUNK - 1, to)))
end
from, to = next_section()
spread('ZADD', TIMER, ARGV, from, to)

-- Puts ids, which stand in ARGV, on the batch's list.
local function queue(priority, first, last)
  local length = spread('RPUSH', READY .. priority .. batch, ARGV, first, last)
  if length == last - first + 1 and not known[2] and not known[3] then redis.call('RPUSH', TURNS .. priority, batch) end
end

for _, priority in ipairs({ HIGH, NORMAL, LOW }) do queue(priority, next_section()) end
from, to = next_section()
for i = from, to, 3 do
  local due, id = tonumber(ARGV[i]), ARGV[i + 2]
  if due > now then
    redis.call('ZADD', DELAYED, due, id)
  else
    queue(ARGV[i + 1], i + 2, i + 2)
  end
end

redis.call('HINCRBY', BATCH .. batch, 'q', count)
redis.call('APPEND', CALLS .. batch, range)
redis.call('APPEND', LOG .. batch, ARGV[9])
if expected == 'new' then
  redis.call('HSET', BATCH .. batch, 'open', keep_open, 'create', created)
  if ARGV[15] ~= '' then redis.call('HSET', BATCH .. batch, 'budget', ARGV[15]) end
  redis.call('ZADD', BATCHES, created, batch)
elseif expected == 'open' then
  redis.call('HSET', BATCH .. batch, 'open', keep_open)
else
  redis.call('PERSIST', BATCH .. batch)
  redis.call('PERSIST', CALLS .. batch)
  redis.call('PERSIST', LOG .. batch)
end
if idempotency ~= '' then
  redis.call('SET', IDEMPOTENCY .. idempotency, hash .. made, 'PX', IDEMPOTENCY_MS)
end
redis.call('HINCRBY', META, 'q', count)
redis.call('HINCRBY', META, 'w', ARGV[12])
return { now, announce(section(MOVED, count, ARGV[10])), 'ok', made }
