-- Writes tasks that were moved by one transition: all of them, or none if one is not at its fence any more. Whoever asked
-- leaves that one out then; one call need not look at what others of it come to.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 how many tasks   2 what they add to those queued and 3 to those processing   4 bytes of input of those that ended
--          then for each task: id, fence with what else must hold (see pack.rs), record
--          then sections, each after its length: what each batch comes to (id, log entries, last end, last expiry, how many
--          sums, place in BATCH_FIELDS and difference of each); place, priority, due and batch of each task that goes on, after its id;
--          instant and entry of those that are to be removed then; batches to park, and why; bills (number of the task,
--          batch, what was held ready, 1 where the cost is known, cost); last the name of the call
-- Returns  now, number of the announcement or 0, for each task '1' when it was or could be written, '2' when it had been
--          written so before, '0' when it has moved on, '3' for all when nothing was written for want of an outcome that should
--          have gone ahead; and, where it was written now, how the logs end (pieces_of)

local count, now = tonumber(ARGV[1]), clock()
local ids, verdicts, writes = {}, {}, true
for i = 1, count do ids[i] = ARGV[3 * i + 2] end
local leases = redis.call('HMGET', HELD, unpack(ids))
local cancelled, outputs, outcomes = {}, {}, {}

-- Of a task that nobody holds: whether it is queued under this fence, or the same commit came before and its reply was lost.
local function verdict_unheld(i, fence, guard)
  local id, record = ids[i], ARGV[3 * i + 4]
  local head = redis.call('GETRANGE', TASK .. id, '0', HEAD_END)
  if guard == 0 and #head == HEAD_LEN and string.byte(head, STATUS_AT + 1) == QUEUED and fits(fence, head) then
    cancelled[#cancelled + 1] = id
    return '1'
  end
  local is_same = string.sub(head, 1, FENCE_LEN) == string.sub(record, 1, FENCE_LEN) and redis.call('GET', TASK .. id) == record
  return is_same and '2' or '0'
end

local function verdict(i, lease)
  local check = ARGV[3 * i + 3]
  local fence, guard = string.sub(check, 1, FENCE_LEN), string.byte(check, FENCE_LEN + 1) or 0
  if guard >= WENT_AHEAD then
    outcomes[#outcomes + 1] = ids[i] .. fence
    guard = guard - WENT_AHEAD
  end
  if guard >= STREAMED then
    outputs[#outputs + 1] = OUTPUT .. ids[i]
    guard = guard - STREAMED
  end
  if not lease then return verdict_unheld(i, fence, guard) end
  if not fits(fence, lease) then return '0' end
  if guard == GUARD_LEASE_EXPIRED and #lease == LEASE_LEN and struct.unpack('>i8', lease, LEASE_EXPIRY_AT + 1) > now then return '0' end
  return '1'
end

for i, lease in ipairs(leases) do
  -- Most are held under just that fence, and nothing else must hold.
  local is_plain = lease and string.sub(lease, 1, FENCE_LEN) == ARGV[3 * i + 3]
  verdicts[i] = is_plain and '1' or verdict(i, lease)
  writes = writes and verdicts[i] == '1'
end
verdicts = table.concat(verdicts)
if not writes then return { now, 0, verdicts } end
if not have_come(outcomes) then return { now, 0, string.rep('3', count) } end

local pairs_of = {}
for i, id in ipairs(ids) do
  pairs_of[2 * i - 1], pairs_of[2 * i] = TASK .. id, ARGV[3 * i + 4]
end
redis.call('MSET', unpack(pairs_of))
keep_parts(OUTCOME, outcomes)
redis.call('HDEL', HELD, unpack(ids))
if #cancelled > 0 then redis.call('ZREM', DELAYED, unpack(cancelled)) end
if #outputs > 0 then redis.call('UNLINK', unpack(outputs)) end

-- Steps from section to section: where the next one begins and ends.
local at = 3 * count + 5
local function next_section()
  local first, last = at + 1, at + tonumber(ARGV[at])
  at = last + 1
  return first, last
end
local first_sum, last_sum = next_section()
local first_place, last_place = next_section()
local first_old, last_old = next_section()
local first_park, last_park = next_section()
local first_bill, last_bill = next_section()

local amended, lists, named = {}, {}, {}

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

for i = first_place, last_place, 5 do
  local id, where, priority, due, batch = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if tonumber(where) == PLACE_HEAD then
    add('LPUSH', priority, batch, id)
  elseif tonumber(due) > now then
    redis.call('ZADD', DELAYED, due, id)
  else
    add('RPUSH', priority, batch, id)
  end
end
for i = first_old, last_old, 2 do redis.call('ZADD', OLD, ARGV[i], ARGV[i + 1]) end

local function park(batch, why)
  if redis.call('HSETNX', BATCH .. batch, 'parked', why) == 0 then return end
  redis.call('SADD', PARKED, batch)
  amended[#amended + 1] = batch
  for _, priority in ipairs({ HIGH, NORMAL, LOW }) do
    -- From the end: it has just had a turn.
    if redis.call('EXISTS', READY .. priority .. batch) == 1 then redis.call('LREM', TURNS .. priority, -1, batch) end
  end
end
for i = first_park, last_park, 2 do park(ARGV[i], ARGV[i + 1]) end

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

-- By batch, what was held ready for attempts that have ended, and what is spent instead.
local bills = {}
for i = first_bill, last_bill, 5 do
  local lease, most, cost = leases[tonumber(ARGV[i])], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 4])
  if lease then
    local bill = bills[ARGV[i + 1]] or { reserved = 0, spent = 0 }
    bills[ARGV[i + 1]] = bill
    local sent, aside = string.byte(lease, LEASE_SENT_AT + 1, LEASE_SENT_AT + 2)
    if ARGV[i + 3] ~= '1' then cost = sent == 1 and most or 0 end
    if aside == 1 then most = 0 end
    bill.reserved, bill.spent = bill.reserved + most, bill.spent + cost
  end
end

-- Puts what attempts have cost in the place of what was held ready for them.
local function pay(id, bill, fields)
  local spent = math.min((fields[AT_SPENT] or 0) + bill.spent, MAX_BUDGET)
  local reserved = math.max((fields[AT_RESERVED] or 0) - bill.reserved, 0)
  redis.call('HSET', BATCH .. id, 'spent', spent, 'reserved', reserved)
  fields[AT_SPENT], fields[AT_RESERVED] = spent, reserved
  if let_go_on(id, fields[AT_BUDGET], spent, reserved, fields[AT_SHORT], amended) then fields[AT_SHORT] = false end
end

local sections, logs, batches = {}, {}, 0
local names = { BATCH_FIELDS }

-- Adds up what a batch comes to, whose part of the section begins at `i`. Answers where the next one begins.
local function settle(i)
  local id, entries, ended, keep, sums = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  local key, after, written = BATCH .. id, i + 5 + 2 * sums, {}
  batches = batches + 1
  local fields = read_batch(id, batches)
  if not fields[AT_OPEN] then
    -- The batch is gone. Whoever watches one of these tasks is told all the same.
    sections[#sections + 1] = section(MOVED, #entries / LOG_ENTRY_LEN, id .. struct.pack('>I8', 0) .. entries)
    return after
  end
  local function write(at, value)
    fields[at] = value
    local length = #written
    written[length + 1], written[length + 2] = names[at], value
  end
  for sum = i + 5, after - 1, 2 do
    local at, more = tonumber(ARGV[sum]), ARGV[sum + 1]
    if at > #fields then
      redis.call('HINCRBY', key, names[at], more)
    else
      write(at, (fields[at] or 0) + more)
    end
  end
  keep = math.max(fields[AT_KEEP] or 0, keep)
  if ended > 0 then
    write(AT_END, math.max(fields[AT_END] or 0, ended))
    write(AT_KEEP, keep)
  end
  redis.call('HSET', key, unpack(written))
  local moved, reaches = write_log(id, entries)
  sections[#sections + 1] = moved
  logs[#logs + 1] = { id, reaches, entries, fields }
  if fields[AT_BUDGET] then pay(id, bills[id] or { reserved = 0, spent = 0 }, fields) end
  local left = (fields[AT_QUEUED] or 0) + (fields[AT_PROCESSING] or 0)
  if fields[AT_OPEN] == '0' and left == 0 then retire(id, keep) end
  return after
end

local i = first_sum
while i <= last_sum do i = settle(i) end
if #amended > 0 then sections[#sections + 1] = section(AMENDED, #amended, table.concat(amended)) end
local meta = redis.call('HMGET', META, 'q', 'p', 'w', 'seq', 'epoch')
local queued, processing, weight = (meta[1] or 0) + ARGV[2], (meta[2] or 0) + ARGV[3], (meta[3] or 0) - ARGV[4]
-- Whatever a process that knew nothing of the sum has done to it: now it is known.
if queued + processing == 0 then weight = 0 end
local seq, epoch = (meta[4] or 0) + 1, meta[5] or 0
redis.call('HSET', META, 'q', queued, 'p', processing, 'w', weight, 'seq', seq)
publish(epoch, seq, table.concat(sections), ARGV[#ARGV])
return { now, seq, verdicts, pieces_of(epoch, logs, batches) }
