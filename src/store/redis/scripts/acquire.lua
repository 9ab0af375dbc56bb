-- Hands tasks to a worker: by priority, every AGING-th start the least urgent one's; within a priority batches take turns.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 worker, 8 bytes   2 how many tasks   3 lease, ms   4 request, 8 bytes: the same when a call is repeated
--          5 '1' when it may have been made before   6 why a batch is parked whose budget is used up   7 the name of the call
-- Returns  now, number of the last announcement, which may be this call's, '1' when more could be started at once, when the next
--          delayed task is due or '', how the logs end that were written (pieces_of), then id, record and lease of every task
--          started

local worker, max, lease, request = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local now = clock()

-- The answer to an earlier call was lost: the same tasks again, as far as this worker still holds them.
local function again(ids)
  local reply = { now, 0, '1', '', {} }
  if #ids == 0 then return reply end
  for i, lease in ipairs(redis.call('HMGET', HELD, unpack(ids))) do
    if lease and string.sub(lease, LEASE_WORKER_AT + 1, LEASE_WORKER_AT + #worker) == worker then
      local record = redis.call('GET', TASK .. ids[i])
      if record then
        reply[#reply + 1] = ids[i]
        reply[#reply + 1] = record
        reply[#reply + 1] = lease
      end
    end
  end
  return reply
end

if ARGV[5] == '1' then
  local claim = redis.call('GET', CLAIM .. worker)
  if claim and string.sub(claim, 1, #request) == request then return again(ids_in(claim, #request + 1)) end
end

-- Tasks that have become due go to the head of their batch's list first, in the order in which they did.
local function promote()
  local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, PROMOTE_MAX)
  if #due == 0 then return end
  redis.call('ZREM', DELAYED, unpack(due))
  local lists, named = {}, {}
  for _, id in ipairs(due) do
    local part = redis.call('GETRANGE', TASK .. id, PRIORITY_AT, BATCH_AT + ID_LEN - 1)
    if #part == BATCH_AT + ID_LEN - PRIORITY_AT then
      local priority, batch = string.byte(part), string.sub(part, -ID_LEN)
      local key = READY .. priority .. batch
      if not lists[key] then
        lists[key] = { key = key, priority = priority, batch = batch }
        named[#named + 1] = lists[key]
      end
      table.insert(lists[key], 1, id)
    end
  end
  for _, list in ipairs(named) do
    if spread('LPUSH', list.key, list) == #list then join('RPUSH', list.priority, list.batch) end
  end
end

-- When the next delayed task is due, or ''.
local function next_due()
  return redis.call('ZRANGE', DELAYED, '0', '0', 'WITHSCORES')[2] or ''
end

local due = next_due()
if due ~= '' and tonumber(due) <= now then
  promote()
  due = next_due()
end

-- Of each priority, urgent first, how many batches take turns.
local priorities, lengths = { HIGH, NORMAL, LOW }, {}
for i, priority in ipairs(priorities) do lengths[i] = redis.call('LLEN', TURNS .. priority) end
local meta = redis.call('HMGET', META, 'picks', 'q', 'p', 'seq', 'epoch')
local picks, seq, epoch = tonumber(meta[1] or 0), tonumber(meta[4] or 0), tonumber(meta[5] or 0)
if lengths[1] + lengths[2] + lengths[3] == 0 then return { now, seq, '', due, {} } end
local reply, leases, claimed = { now, seq, '', due, {} }, {}, {}
local batches, seen = {}, {}
local started, looked, bytes = 0, 0, 0
-- What heads of records come to. Those of tasks that were submitted together are mostly the same.
local forms = {}

-- The priority to take from next, and how many.
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

-- What this call starts of a batch.
local function batch_of(id)
  local batch = batches[id]
  if not batch then
    seen[#seen + 1] = id
    batch = { log = {}, fields = read_batch(id, #seen) }
    batches[id] = batch
  end
  return batch
end

-- How many tasks of a batch are queued by now.
local function queued(id)
  local batch = batch_of(id)
  return (batch.fields[AT_QUEUED] or 0) - #batch.log
end

-- Holds ready what a call may cost. Answers whether that fits into what is left of the batch's budget.
local function reserve(id, cost)
  local batch = batch_of(id)
  if not batch.reserved then
    local fields = batch.fields
    batch.reserved, batch.more = tonumber(fields[AT_RESERVED] or 0), 0
    batch.left = fields[AT_BUDGET] and fields[AT_BUDGET] - (fields[AT_SPENT] or 0) - batch.reserved
  end
  if not batch.left then return true end
  if cost > batch.left then
    batch.short = cost
    return false
  end
  batch.left, batch.more = batch.left - cost, batch.more + cost
  return true
end

-- What starting a task with this head comes to: its lease, what its log and the reply say, what it may cost. False where it
-- has moved on, or is past its deadline.
local function form_of(head)
  local revision, status, progress, _, _, attempt, apart, _, deadline, cost =
    struct.unpack('>I8BBBBI4xxBxi8i8xxxxxxxxxxxxxxxxI4', head)
  if status ~= QUEUED or deadline <= now then return false end
  return {
    cost = cost * 1000,
    apart = apart > 0,
    lease = struct.pack('>I4I8I4i8c8i8BBB', epoch, revision + 1, attempt + 1, now, worker, now + lease, progress, 0, 0) .. LEASE_PAD,
    tail = struct.pack('>I4BBBB', revision + 1, PROCESSING, 0, 0, 0),
  }
end

-- Starts one task, unless it is gone, has moved on, or is past its deadline. False when its batch cannot pay for it.
local function start(turn, id, record)
  if not record or #record < RECORD_MIN then return true end
  local head = string.sub(record, 5, COST_AT + 4)
  local form = forms[head]
  if form == nil then
    form = form_of(head)
    forms[head] = form
  end
  if not form then return true end
  if form.cost > 0 and not reserve(turn.id, form.cost) then
    turn.short = true
    return false
  end
  turn.log[#turn.log + 1] = id .. form.tail
  started, picks, bytes = started + 1, picks + 1, bytes + #record
  -- Whoever gets it reads that as well.
  if form.apart then bytes = bytes + struct.unpack('>I4', record, WEIGHT_AT + 1) end
  leases[2 * started - 1], leases[2 * started] = id, form.lease
  local place = 3 * turn.started
  turn[place + 1], turn[place + 2], turn[place + 3] = id, record, form.lease
  turn.started = turn.started + 1
  return true
end

-- Takes ids off a turn's list: fewer than asked for are all.
local function pop(turn, count)
  local ids = redis.call('LPOP', turn.list, count) or {}
  turn.drained = #ids < count
  looked = looked + math.max(1, #ids)
  return ids
end

-- Starts those of `ids` from `first` to `last` that the turn has a share, and its batch the money, for; the others go back.
local function run(turn, ids, records, first, last)
  last = last or #ids
  for at = first or 1, last do
    if turn.started == turn.share or started == max or not start(turn, ids[at], records[at]) then
      for back = last, at, -1 do redis.call('LPUSH', turn.list, ids[back]) end
      turn.drained = false
      return
    end
  end
end

-- The records of tasks.
local function read(ids)
  local keys = {}
  for i, id in ipairs(ids) do keys[i] = TASK .. id end
  return #keys > 0 and redis.call('MGET', unpack(keys)) or {}
end

-- How many rounds of one task a turn these batches have before them for certain; nil when that saves nothing.
local function whole_rounds(ids, want)
  if #ids == 1 then return want end
  local rounds = math.floor(want / #ids)
  for _, id in ipairs(ids) do
    if rounds < 2 then return nil end
    rounds = math.min(rounds, queued(id) - LAST_TURN)
  end
  return rounds > 1 and rounds or nil
end

-- A batch's turn: `ask`, how many ids to look at first; `most`, how many of those may start; `share`, how many in all.
local function turn_of(i, id, room, rounds)
  local turn = { id = id, list = READY .. priorities[i] .. id, log = batch_of(id).log, started = 0 }
  local left = not rounds and queued(id)
  local count = rounds or 1
  if left and left <= LAST_TURN then
    turn.goes_on = true
    count = math.max(math.min(left, room), 0)
  end
  turn.ask, turn.most, turn.share = count, count, count
  if turn.goes_on and count < room then
    -- One more than there are: fewer come, which says that none are left.
    turn.ask, turn.share = count + 1, room
  end
  return turn
end

-- The next turns, in order, and the ids that they look at first.
local function next_turns(i, batch_ids, want, rounds)
  local turns, ids, room = {}, {}, want
  for _, id in ipairs(batch_ids) do
    if room <= 0 then break end
    local turn = turn_of(i, id, room, rounds)
    local popped = pop(turn, turn.ask)
    turn.first, turn.last = #ids + 1, #ids + #popped
    for at, task in ipairs(popped) do ids[turn.first + at - 1] = task end
    room = room - math.min(#popped, turn.most)
    turns[#turns + 1] = turn
  end
  return turns, ids
end

-- Puts what the turns have started into the reply, in the order of their rounds.
local function tell(turns, rounds)
  local most = 1
  if rounds then
    for _, turn in ipairs(turns) do most = math.max(most, turn.started) end
  end
  for round = 1, most do
    for _, turn in ipairs(turns) do
      for at = round, rounds and math.min(round, turn.started) or turn.started do
        local id, length = turn[3 * at - 2], #reply
        reply[length + 1], reply[length + 2], reply[length + 3] = id, turn[3 * at - 1], turn[3 * at]
        claimed[#claimed + 1] = id
      end
    end
  end
end

-- A batch that is short of budget takes no turns at the other priorities either.
local function leave_others(i, id)
  for other, priority in ipairs(priorities) do
    if other ~= i then lengths[other] = lengths[other] - redis.call('LREM', TURNS .. priority, 0, id) end
  end
end

-- Sends those that had their turns behind the others, without those that have nothing left or cannot pay.
local function rotate(i, turns)
  local key, kept, served = TURNS .. priorities[i], {}, #turns
  local left = lengths[i]
  for at, turn in ipairs(turns) do
    if turn.short then leave_others(i, turn.id) end
    if turn.short or turn.drained or redis.call('EXISTS', turn.list) == 0 then
      left = left - 1
    elseif turn.goes_on and at == #turns then
      served = served - 1
    else
      kept[#kept + 1] = turn.id
    end
  end
  -- Whole rounds leave the order as it is.
  if left == lengths[i] and (served == 0 or served == left) then return end
  lengths[i] = left
  redis.call('LTRIM', key, served, '-1')
  spread('RPUSH', key, kept)
end

-- Starts up to `want` tasks of a priority: one a turn, or, where few are left, all.
local function take_turns(i, want)
  local ids = redis.call('LRANGE', TURNS .. priorities[i], '0', math.min(lengths[i], want) - 1)
  local rounds = lengths[i] <= want and whole_rounds(ids, want) or nil
  local turns, popped = next_turns(i, ids, want, rounds)
  local records = read(popped)
  for _, turn in ipairs(turns) do
    run(turn, popped, records, turn.first, turn.last)
    while turn.started < turn.share and not (turn.drained or turn.short) and started < max and looked < max + LOOK_MAX do
      local others = pop(turn, POP_MAX)
      run(turn, others, read(others))
    end
  end
  tell(turns, rounds)
  rotate(i, turns)
end

while started < max and looked < max + LOOK_MAX and bytes < REPLY_MAX do
  local i, want = choose()
  if not i then break end
  take_turns(i, want)
end

-- Batches that are short of budget: they wait for their calls under way or, if there are none, for people.
local amended = {}

local function write(id, fields, name, at, value)
  fields[at] = value
  redis.call('HSET', BATCH .. id, name, value)
end

local function note_funds(id, batch)
  local fields = batch.fields
  if batch.more and batch.more > 0 then write(id, fields, 'reserved', AT_RESERVED, batch.reserved + batch.more) end
  if not batch.short then return end
  amended[#amended + 1] = id
  if batch.reserved + batch.more > 0 then
    write(id, fields, 'short', AT_SHORT, batch.short)
  else
    write(id, fields, 'parked', AT_PARKED, ARGV[6])
    redis.call('SADD', PARKED, id)
  end
end

local sections, logs = {}, {}
for _, id in ipairs(seen) do
  local log, fields = batches[id].log, batches[id].fields
  note_funds(id, batches[id])
  if #log > 0 then
    local entries = table.concat(log)
    fields[AT_QUEUED] = (fields[AT_QUEUED] or 0) - #log
    fields[AT_PROCESSING] = (fields[AT_PROCESSING] or 0) + #log
    redis.call('HSET', BATCH .. id, 'q', fields[AT_QUEUED], 'p', fields[AT_PROCESSING])
    local moved, reaches = write_log(id, entries)
    sections[#sections + 1] = moved
    logs[#logs + 1] = { id, reaches, entries, fields }
  end
end
if #amended > 0 then sections[#sections + 1] = section(AMENDED, #amended, table.concat(amended)) end
if #sections > 0 then seq = seq + 1 end
if started > 0 then
  local ids = table.concat(claimed)
  spread('HSET', HELD, leases)
  time_leases(now + lease, ids)
  redis.call('SET', CLAIM .. worker, request .. ids, 'PX', 2 * lease)
  local queued, processing = (meta[2] or 0) - started, (meta[3] or 0) + started
  redis.call('HSET', META, 'picks', picks, 'q', queued, 'p', processing, 'seq', seq)
elseif #sections > 0 then
  redis.call('HSET', META, 'seq', seq)
end
if #sections > 0 then
  publish(epoch, seq, table.concat(sections), ARGV[7])
  reply[2], reply[5] = seq, pieces_of(epoch, logs, #seen)
end

for i = 1, 3 do
  if lengths[i] > 0 then reply[3] = '1' end
end
return reply
