-- Reads tasks, as many as fit into one reply: at least one, and the rest is asked for again.
--
-- KEYS[1]  the partition's meta key
-- ARGV     the ids
-- Returns  the epoch, then for each of the first tasks its record or nothing, and its lease or nothing

local reply, bytes = { redis.call('HGET', META, 'epoch') or 0 }, 0
local from, step, largest = 1, READ_STEP, 0
while from <= #ARGV do
  local to = math.min(from + step - 1, #ARGV)
  local keys = {}
  for i = from, to do keys[#keys + 1] = TASK .. ARGV[i] end
  local leases = redis.call('HMGET', HELD, unpack(ARGV, from, to))
  for i, record in ipairs(redis.call('MGET', unpack(keys))) do
    reply[#reply + 1] = record
    reply[#reply + 1] = leases[i]
    if record then
      bytes = bytes + #record
      largest = math.max(largest, #record)
    end
  end
  if bytes >= REPLY_MAX then break end
  -- Small ones are read in fewer commands.
  local fits_more = largest > 0 and 2 * step * largest <= REPLY_MAX - bytes
  step = fits_more and math.min(2 * step, READ_STEP_MOST) or READ_STEP
  from = to + 1
end
return reply
