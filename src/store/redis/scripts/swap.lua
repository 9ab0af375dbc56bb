-- Writes a value that processes agree on, unless it was written since it was read.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 key   2 version that was read, 8 bytes, zeros for none   3 value   4 how long to keep it, ms
-- Returns  now, '1' when it was written, then version, 8 bytes, and value as they are kept now

local key, read, value = SLOT .. ARGV[1], ARGV[2], ARGV[3]
local now = clock()
local kept = redis.call('GET', key)
local version = kept and string.sub(kept, 1, 8) or struct.pack('>I8', 0)
if version ~= read then return { now, '0', version, kept and string.sub(kept, 9) or '' } end
-- By the clock, so that a version does not come again after its value was lost.
version = struct.pack('>I8', math.max(struct.unpack('>I8', version) + 1, now * 1000))
redis.call('SET', key, version .. value, 'PX', ARGV[4])
return { now, '1', version, value }
