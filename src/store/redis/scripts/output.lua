-- Reads what the running attempt of a task has put out.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 id   2 how many bytes of it to skip
-- Returns  nothing, or the fence under which it was put out and what follows those bytes

local key = OUTPUT .. ARGV[1]
local fence = redis.call('GETRANGE', key, 0, FENCE_END)
if fence == '' then return false end
local lease = redis.call('HGET', HELD, ARGV[1])
if not lease or not fits(fence, lease) then return false end
local from = FENCE_LEN + tonumber(ARGV[2])
return { fence, redis.call('GETRANGE', key, from, from + OUTPUT_PAGE - 1), redis.call('STRLEN', key) - FENCE_LEN }
