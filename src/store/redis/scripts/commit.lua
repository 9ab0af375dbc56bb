-- Writes tasks that were moved by one transition, each only if the stored one is still at the fence.
--
-- KEYS[1]  the partition's meta key
-- ARGV     for each task: id, move (packed as in commit.rs), record, why its batch is parked or ''
-- Returns  now, number of the announcement or 0, a string with '1' for each task written (or written before) and '0' for each that had moved on

local now = clock()
local verdicts, moved = {}, {}
local batches, seen, amended = {}, {}, {}
local done, undelayed, unleased, timers = {}, {}, {}, {}
local lists, named, queued, processing, freed = {}, {}, 0, 0, 0

-- Notes that a task goes to the head (`LPUSH`) or the tail of its batch's list.
local function add(command, priority, batch, id)
  local name = priority .. batch
  local list = lists[name]
  if not list then
    list = { priority = priority, batch = batch, first = command, LPUSH = {}, RPUSH = {} }
    lists[name] = list
    named[#named + 1] = list
  end
  local part = list[command]
  part[#part + 1] = id
end

-- Sums by batch: 1-5 counts by status, 6-10 usage, 11 last end, 12 last expiry; what was held ready and what was spent.
local function sums_of(id)
  local sums = batches[id]
  if not sums then
    sums = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, reserved = 0, spent = 0, log = {} }
    batches[id] = sums
    seen[#seen + 1] = id
  end
  return sums
end

local function place(id, where, priority, due, batch)
  if where == PLACE_HEAD then
    add('LPUSH', priority, batch, id)
  elseif due > now then
    redis.call('ZADD', DELAYED, due, id)
  else
    add('RPUSH', priority, batch, id)
  end
end

local function park(batch, why)
  if why == '' or redis.call('HSETNX', BATCH .. batch, 'parked', why) == 0 then return end
  redis.call('SADD', PARKED, batch)
  amended[#amended + 1] = batch
  for _, priority in ipairs({ HIGH, NORMAL, LOW }) do
    -- From the end: it has just had a turn.
    if redis.call('EXISTS', READY .. priority .. batch) == 1 then redis.call('LREM', TURNS .. priority, -1, batch) end
  end
end

-- What was held ready for an attempt that has ended, and what is spent instead.
local function bill(sums, move, at, before)
  local most, is_known, cost = struct.unpack('>I8BI8', move, at)
  if is_known == 0 then cost = string.byte(before, SENT_AT + 1) == 1 and most or 0 end
  if string.byte(before, ASIDE_AT + 1) == 1 then most = 0 end
  sums.reserved, sums.spent = sums.reserved + most, sums.spent + cost
end

local function write(id, key, record, batch, move, before)
  local from, to, where, priority, tail, due, deadline, expire, ended, input, output, cached, reasoning,
    cost, weight, until_expired, until_forgotten, bill_at =
    struct.unpack('>BBBBc5i8i8i8i8I8I8I8I8I8I8ss', move, MOVE_AT)
  local sums = sums_of(batch)
  if where == PLACE_DONE then
    -- A retention that is over already must not hide the record from the rest of this call.
    redis.call('SET', key, record, 'PXAT', expire > now and until_expired or now + 1)
    redis.call('SET', TOMBSTONE .. id, '', 'PXAT', until_forgotten)
    done[#done + 1] = id
    freed = freed + weight
    sums[6], sums[7], sums[8], sums[9], sums[10] =
      sums[6] + input, sums[7] + output, sums[8] + cached, sums[9] + reasoning, sums[10] + cost
    sums[11], sums[12] = math.max(sums[11], ended), math.max(sums[12], expire)
  else
    redis.call('SET', key, record)
    timers[#timers + 1] = deadline
    timers[#timers + 1] = id
    place(id, where, priority, due, batch)
  end
  if from == QUEUED then
    undelayed[#undelayed + 1] = id
  else
    unleased[#unleased + 1] = id
    bill(sums, move, bill_at, before)
  end
  sums[from], sums[to] = sums[from] - 1, sums[to] + 1
  sums.log[#sums.log + 1] = id .. tail .. '\0\0\0'
  moved[#moved + 1] = id .. batch .. tail
end

local function try(id, move, record, why)
  local fence, guard, batch = struct.unpack('>c12Bc16', move)
  local streamed = guard >= STREAMED
  if streamed then guard = guard - STREAMED end
  local key = TASK .. id
  local stored = redis.call('GETRANGE', key, '0', ASIDE_AT)
  if not fits(fence, stored) then
    -- The same commit again, after a reply that was lost.
    return string.sub(stored, 1, FENCE_LEN) == string.sub(record, 1, FENCE_LEN) and redis.call('GET', key) == record
  end
  if guard == GUARD_LEASE_EXPIRED then
    local lease = redis.call('ZSCORE', TIMER, id)
    if lease and tonumber(lease) > now then return false end
  end
  write(id, key, record, batch, move, stored)
  if streamed then redis.call('UNLINK', OUTPUT .. id) end
  park(batch, why)
  return true
end

for i = 1, #ARGV, 4 do
  verdicts[#verdicts + 1] = try(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]) and '1' or '0'
end
if #moved == 0 then return { now, 0, table.concat(verdicts) } end

-- Reversed, so that tasks given back together keep their order at the head.
local function reversed(list)
  local other = {}
  for i = #list, 1, -1 do other[#other + 1] = list[i] end
  return other
end

-- Puts tasks that come back on their lists. Answers how their batch has to join, if it has to: as its first one came back.
local function queue(list)
  local key, heads, tails = READY .. list.priority .. list.batch, list.LPUSH, list.RPUSH
  local length = spread('RPUSH', key, tails)
  length = spread('LPUSH', key, reversed(heads)) or length
  return length == #heads + #tails and list.first
end

-- Puts what attempts have cost in the place of what was held ready for them.
local function pay(id, sums, budget, spent, reserved, short)
  spent = math.min((spent or 0) + sums.spent, MAX_BUDGET)
  reserved = math.max((reserved or 0) - sums.reserved, 0)
  redis.call('HSET', BATCH .. id, 'spent', spent, 'reserved', reserved)
  let_go_on(id, budget, spent, reserved, short, amended)
end

local function settle(id, sums)
  local key = BATCH .. id
  local now_is = redis.call('HMGET', key, 'q', 'p', 'c', 'e', 'x', 'ui', 'uo', 'uc', 'ur', 'um', 'end', 'keep', 'open',
    'budget', 'spent', 'reserved', 'short')
  if not now_is[13] then return end
  for i = 1, 10 do now_is[i] = (now_is[i] or 0) + sums[i] end
  for i = 11, 12 do now_is[i] = math.max(now_is[i] or 0, sums[i]) end
  redis.call('HSET', key, 'q', now_is[1], 'p', now_is[2], 'c', now_is[3], 'e', now_is[4], 'x', now_is[5],
    'ui', now_is[6], 'uo', now_is[7], 'uc', now_is[8], 'ur', now_is[9], 'um', now_is[10], 'end', now_is[11],
    'keep', now_is[12])
  redis.call('APPEND', LOG .. id, table.concat(sums.log))
  if now_is[14] then pay(id, sums, unpack(now_is, 14, 17)) end
  if now_is[13] == '0' and now_is[1] + now_is[2] == 0 then retire(id, now_is[12]) end
end

spread('ZREM', TIMER, done)
spread('ZREM', DELAYED, undelayed)
spread('ZREM', DEADLINES, unleased)
spread('ZADD', TIMER, timers)
local heads = {}
for _, list in ipairs(named) do
  local command = queue(list)
  if command == 'LPUSH' then
    heads[#heads + 1] = list
  elseif command then
    join(command, list.priority, list.batch)
  end
end
for _, list in ipairs(reversed(heads)) do join('LPUSH', list.priority, list.batch) end
for _, id in ipairs(seen) do
  local sums = batches[id]
  settle(id, sums)
  queued, processing = queued + sums[QUEUED], processing + sums[PROCESSING]
end
local left = redis.call('HINCRBY', META, 'q', queued) + redis.call('HINCRBY', META, 'p', processing)
if left == 0 then
  -- Whatever a process that knew nothing of the sum has done to it: now it is known.
  redis.call('HSET', META, 'w', 0)
elseif freed > 0 then
  redis.call('HINCRBY', META, 'w', string.format('%.0f', -freed))
end
local sections = section(MOVED, #moved, table.concat(moved))
if #amended > 0 then sections = sections .. section(AMENDED, #amended, table.concat(amended)) end
return { now, announce(sections), table.concat(verdicts) }
