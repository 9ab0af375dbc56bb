-- Makes a task the lead of a cache key, if its bid wins.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 cache key   2 the bidding lead: task id, u32 epoch, u64 revision   3 whose place it may take: '' nobody's,
--          '*' anybody's, or that lead   4 when it expires, ms
-- Returns  now, the lead as it is afterwards

local key, lead, over = LEAD .. ARGV[1], ARGV[2], ARGV[3]
local now = clock()

-- The same task, as far as then or further.
local function follows(earlier)
  if string.sub(lead, 1, ID_LEN) ~= string.sub(earlier, 1, ID_LEN) then return false end
  local epoch, revision = struct.unpack('>I4I8', lead, ID_LEN + 1)
  local epoch_then, revision_then = struct.unpack('>I4I8', earlier, ID_LEN + 1)
  return epoch > epoch_then or epoch == epoch_then and revision >= revision_then
end

local present = redis.call('GET', key)
if present and #present == #lead and over ~= '*' and over ~= present and not follows(present) then
  return { now, present }
end
redis.call('SET', key, lead, 'PXAT', ARGV[4])
return { now, lead }
