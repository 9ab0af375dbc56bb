-- Appends to the output of running attempts.
--
-- KEYS[1]  the partition's meta key
-- ARGV     for each piece: id, fence, bytes put out before it, text
-- Returns  now, number of the announcement or 0, a string with '1' for each piece taken and '0' for each that was not

local taken, notes = {}, {}

local function extend(id, fence, offset, text)
  local lease = redis.call('HGET', HELD, id)
  if not lease or not fits(fence, lease) then return false end
  local key, known = OUTPUT .. id, 0
  local begun = redis.call('GETRANGE', key, 0, FENCE_END) == fence
  if begun then known = redis.call('STRLEN', key) - FENCE_LEN end
  if offset > known or offset + #text > OUTPUT_MAX then return false end
  local more = string.sub(text, known - offset + 1)
  if more == '' then return true end
  if begun then
    redis.call('APPEND', key, more)
  else
    redis.call('SET', key, fence .. more, 'PX', OUTPUT_MS)
  end
  notes[#notes + 1] = id .. string.sub(lease, LEASE_PROGRESS_AT + 1, LEASE_PROGRESS_AT + 1)
  return true
end

for i = 1, #ARGV, 4 do
  taken[#taken + 1] = extend(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]) and '1' or '0'
end

local seq = #notes > 0 and announce(section(NOTED, #notes, table.concat(notes))) or 0
return { clock(), seq, table.concat(taken) }
