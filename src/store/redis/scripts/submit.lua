-- Accepts tasks into a batch, all or none.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 batch id   2 what is expected of the batch: new, open, retry   3 '1' to leave it open
--          4 when the batch is created, ms   5 idempotency key or ''   6 hash of the content
--          7 the range of ids   8 first id   9 entries for the batch log, one a task
--          10 how many tasks   11 bytes of their inputs   12 tasks and 13 bytes that may be unfinished here
--          14 what a new batch may spend, or ''
--          then sections, each after its length: id and fence of each spec that went ahead; key and record of every task;
--          deadline and range of ids for each run of tasks that share it; ids ready to start by priority, urgent first; due,
--          priority and id of those that may have to wait; last the name of the call
-- Returns  now, number of the announcement or 0, then 'ok' and batch id with range and, where it was written now, how the log
--          ends (pieces_of), or 'reused', 'nobatch', 'closed', 'taken', 'lacking' when a spec did not come, or 'full' with the
--          tasks and bytes that are unfinished

local batch, expected, keep_open, created = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local idempotency, hash, range, first = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local count, weight = tonumber(ARGV[10]), tonumber(ARGV[11])
local now = clock()
local made = batch .. range

if idempotency ~= '' then
  local before = redis.call('GET', IDEMPOTENCY .. idempotency)
  if before then
    if string.sub(before, 1, 32) ~= hash then return { now, 0, 'reused' } end
    return { now, 0, 'ok', string.sub(before, 33) }
  end
end

-- How many ids further than `first` an id is. Their lower halves are taken in two: a script's numbers hold 53 bits.
local function steps(id, first)
  local high, low = struct.unpack('>I4I4', id, 9)
  local first_high, first_low = struct.unpack('>I4I4', first, 9)
  return (high - first_high) * 4294967296 + low - first_low
end

-- The batch whose range an id lies in, as long as that is remembered.
local function owner(id)
  local before = redis.call('ZREVRANGEBYLEX', RANGES, '[' .. id .. '\255', '-', 'LIMIT', '0', '1')[1]
  if not before or string.sub(before, 1, 8) ~= string.sub(id, 1, 8) then return nil end
  if steps(id, before) >= struct.unpack('>I4', before, ID_LEN + 1) then return nil end
  return string.sub(before, RANGE_LEN + 1)
end

-- The same call again, after a reply that was lost.
local known_to = owner(first)
if known_to == batch then return { now, 0, 'ok', made } end
if known_to then return { now, 0, 'taken' } end

local fields = read_batch(batch, 1)
local is_open = fields[AT_OPEN]
if expected == 'new' then
  if is_open then return { now, 0, 'taken' } end
else
  if not is_open then return { now, 0, 'nobatch' } end
  if expected == 'open' and is_open ~= '1' then return { now, 0, 'closed' } end
end

local meta = redis.call('HMGET', META, 'q', 'p', 'w', 'seq', 'epoch')
local tasks, bytes = (meta[1] or 0) + (meta[2] or 0), tonumber(meta[3] or 0)
if tasks + count > tonumber(ARGV[12]) or bytes + weight > tonumber(ARGV[13]) then
  return { now, 0, 'full', tasks, bytes }
end

-- Steps from section to section: where the next one begins and ends.
local at = 15
local function next_section()
  local first, last = at + 1, at + tonumber(ARGV[at])
  at = last + 1
  return first, last
end

local from, to = next_section()
local specs = {}
for i = from, to do specs[#specs + 1] = ARGV[i] end
if not have_come(specs) then return { now, 0, 'lacking' } end
keep_parts(SPEC, specs)
from, to = next_section()
for start = from, to, CHUNK do
  redis.call('MSET', unpack(ARGV, start, math.min(start + CHUNK - 1, to)))
end
from, to = next_section()
for i = from, to, 2 do redis.call('ZADD', TIMER, ARGV[i], 'd' .. ARGV[i + 1] .. batch) end
redis.call('ZADD', RANGES, '0', range .. batch)

-- Puts ids, which stand in ARGV, on the batch's list.
local function queue(priority, first, last)
  local length = spread('RPUSH', READY .. priority .. batch, ARGV, first, last)
  if length == last - first + 1 and not fields[AT_PARKED] and not fields[AT_SHORT] then
    redis.call('RPUSH', TURNS .. priority, batch)
  end
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

redis.call('APPEND', CALLS .. batch, range)
local moved, reaches = write_log(batch, ARGV[9])
fields[AT_QUEUED] = (fields[AT_QUEUED] or 0) + count
if expected ~= 'retry' then fields[AT_OPEN] = keep_open end
redis.call('HSET', BATCH .. batch, 'q', fields[AT_QUEUED], 'open', fields[AT_OPEN])
if expected == 'new' then
  fields[AT_CREATE] = created
  redis.call('HSET', BATCH .. batch, 'create', created)
  if ARGV[14] ~= '' then
    fields[AT_BUDGET] = ARGV[14]
    redis.call('HSET', BATCH .. batch, 'budget', ARGV[14])
  end
  redis.call('ZADD', BATCHES, created, batch)
elseif expected == 'retry' then
  redis.call('PERSIST', BATCH .. batch)
  redis.call('PERSIST', LOG .. batch)
end
if idempotency ~= '' then
  redis.call('SET', IDEMPOTENCY .. idempotency, hash .. made, 'PX', IDEMPOTENCY_MS)
end
local seq, epoch = (meta[4] or 0) + 1, meta[5] or 0
redis.call('HSET', META, 'q', (meta[1] or 0) + count, 'w', bytes + weight, 'seq', seq)
publish(epoch, seq, moved, ARGV[#ARGV])
return { now, seq, 'ok', made, pieces_of(epoch, { { batch, reaches, ARGV[9], fields } }, 1) }
