-- Reads tasks, as many as fit into one reply: at least one, and the rest is asked for again.
--
-- KEYS[1]  the partition's meta key
-- ARGV     the ids
-- Returns  the epoch, then for each of the first tasks its record or nothing

local reply, bytes = { redis.call('HGET', META, 'epoch') or 0 }, 0
for from = 1, #ARGV, READ_STEP do
  local keys = {}
  for i = from, math.min(from + READ_STEP - 1, #ARGV) do keys[#keys + 1] = TASK .. ARGV[i] end
  for _, record in ipairs(redis.call('MGET', unpack(keys))) do
    reply[#reply + 1] = record
    bytes = bytes + (record and #record or 0)
  end
  if bytes >= REPLY_MAX then break end
end
return reply
