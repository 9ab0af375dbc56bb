-- Extends leases, stores progress and marks calls as sent.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 lease, ms; then for each task: id, fence, progress, '1' if its call may have been sent, '2' if it waits aside
-- Returns  now, number of the announcement or 0, a string with '1' for each lease still held and '0' for each lost

local now = clock()
local expiry = now + tonumber(ARGV[1])
local held, timers, notes, amended = {}, {}, {}, {}

-- Nothing is held ready for the call of a task that waits aside, until it is marked as sent. False when there is no room for it
-- then.
local function fund(id, head, mark)
  local cost = struct.unpack('>I4', head, COST_AT + 1) * 1000
  local sent, aside = string.byte(head, SENT_AT + 1, ASIDE_AT + 1)
  local gives = mark == '2' and sent == 0 and aside == 0
  if cost == 0 or not (gives or mark == '1' and aside == 1) then return true end
  local batch = string.sub(head, BATCH_AT + 1, BATCH_AT + ID_LEN)
  local funds = redis.call('HMGET', BATCH .. batch, 'budget', 'spent', 'reserved', 'short')
  if not funds[1] then return true end
  local spent, reserved = tonumber(funds[2] or 0), tonumber(funds[3] or 0)
  if not gives and spent + reserved + cost > tonumber(funds[1]) then return false end
  reserved = math.max(reserved + (gives and -cost or cost), 0)
  redis.call('HSET', BATCH .. batch, 'reserved', reserved)
  redis.call('SETRANGE', TASK .. id, ASIDE_AT, gives and '\1' or '\0')
  let_go_on(batch, funds[1], spent, reserved, funds[4], amended)
  return true
end

for i = 2, #ARGV, 4 do
  local id, progress = ARGV[i], tonumber(ARGV[i + 2])
  local head = redis.call('GETRANGE', TASK .. id, 0, HEAD_LEN - 1)
  local holds = #head == HEAD_LEN and fits(ARGV[i + 1], head) and string.byte(head, STATUS_AT + 1) == PROCESSING
  holds = holds and fund(id, head, ARGV[i + 3])
  held[#held + 1] = holds and '1' or '0'
  if holds then
    timers[#timers + 1] = expiry
    timers[#timers + 1] = id
    local deadline = struct.unpack('>i8', head, DEADLINE_AT + 1)
    if deadline < expiry then redis.call('ZADD', DEADLINES, deadline, id) end
    if string.byte(head, PROGRESS_AT + 1) ~= progress then
      redis.call('SETRANGE', TASK .. id, PROGRESS_AT, string.char(progress))
      notes[#notes + 1] = id .. string.char(progress)
    end
    if ARGV[i + 3] == '1' then redis.call('SETRANGE', TASK .. id, SENT_AT, '\1') end
  end
end

spread('ZADD', TIMER, timers)
local sections = #notes > 0 and section(NOTED, #notes, table.concat(notes)) or ''
if #amended > 0 then sections = sections .. section(AMENDED, #amended, table.concat(amended)) end
local seq = sections ~= '' and announce(sections) or 0
return { now, seq, table.concat(held) }
