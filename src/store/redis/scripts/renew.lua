-- Extends leases, stores progress and marks calls as sent.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 lease, ms; then for each task: id, fence, progress, '1' if its call may have been sent, '2' if it waits aside
-- Returns  now, number of the announcement or 0, a string with '1' for each lease still held and '0' for each lost

local now = clock()
local expiry = now + tonumber(ARGV[1])
local held, leases, fresh, renewed, notes, amended = {}, {}, {}, {}, {}, {}

-- Nothing is held ready for the call of a task that waits aside, until it is marked as sent. Answers whether it waits aside
-- from now on, or nil when there is no room for its call.
local function fund(id, sent, aside, mark)
  local gives = mark == '2' and sent == 0 and aside == 0
  if not (gives or mark == '1' and aside == 1) then return aside end
  local head = redis.call('GETRANGE', TASK .. id, '0', HEAD_END)
  if #head < HEAD_LEN then return nil end
  local cost = struct.unpack('>I4', head, COST_AT + 1) * 1000
  if cost == 0 then return aside end
  local batch = string.sub(head, BATCH_AT + 1, BATCH_AT + ID_LEN)
  local funds = redis.call('HMGET', BATCH .. batch, 'budget', 'spent', 'reserved', 'short')
  if not funds[1] then return aside end
  local spent, reserved = tonumber(funds[2] or 0), tonumber(funds[3] or 0)
  if not gives and spent + reserved + cost > tonumber(funds[1]) then return nil end
  reserved = math.max(reserved + (gives and -cost or cost), 0)
  redis.call('HSET', BATCH .. batch, 'reserved', reserved)
  let_go_on(batch, funds[1], spent, reserved, funds[4], amended)
  return gives and 1 or 0
end

local function renew(id, fence, progress, mark)
  local lease = fresh[id] or redis.call('HGET', HELD, id)
  if not lease or #lease ~= LEASE_LEN or not fits(fence, lease) then return false end
  local before, sent, aside = string.byte(lease, LEASE_PROGRESS_AT + 1, LEASE_PROGRESS_AT + 3)
  aside = fund(id, sent, aside, mark)
  if not aside then return false end
  if mark == '1' then sent = 1 end
  fresh[id] = string.sub(lease, 1, LEASE_EXPIRY_AT) .. struct.pack('>i8BBB', expiry, progress, sent, aside) .. LEASE_PAD
  leases[#leases + 1] = id
  leases[#leases + 1] = fresh[id]
  renewed[#renewed + 1] = id
  if before ~= progress then notes[#notes + 1] = id .. string.char(progress) end
  return true
end

for i = 2, #ARGV, 4 do
  held[#held + 1] = renew(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]) and '1' or '0'
end

spread('HSET', HELD, leases)
if #renewed > 0 then time_leases(expiry, table.concat(renewed)) end
local sections = #notes > 0 and section(NOTED, #notes, table.concat(notes)) or ''
if #amended > 0 then sections = sections .. section(AMENDED, #amended, table.concat(amended)) end
local seq = sections ~= '' and announce(sections) or 0
return { now, seq, table.concat(held) }
