-- Extends leases, stores progress and marks calls as sent.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 lease, ms; then for each task: id, fence, progress, '1' if its call may have been sent
-- Returns  now, number of the announcement or 0, a string with '1' for each lease still held and '0' for each lost

local now = clock()
local expiry = now + tonumber(ARGV[1])
local held, timers, notes = {}, {}, {}

for i = 2, #ARGV, 4 do
  local id, progress = ARGV[i], tonumber(ARGV[i + 2])
  local head = redis.call('GETRANGE', TASK .. id, 0, HEAD_LEN - 1)
  local holds = #head == HEAD_LEN and fits(ARGV[i + 1], head) and string.byte(head, STATUS_AT + 1) == PROCESSING
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
local seq = #notes > 0 and announce(section(NOTED, #notes, table.concat(notes))) or 0
return { now, seq, table.concat(held) }
