-- Reads a batch and a piece of its log as of one instant.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 batch id   2 first entry, from 0   3 how many
-- Returns  the batch's fields, bytes of the log in all, the entries, the epoch

local from, max = tonumber(ARGV[2]), tonumber(ARGV[3])
local log = LOG .. ARGV[1]
local entries = ''
if max > 0 then
  entries = redis.call('GETRANGE', log, from * LOG_ENTRY_LEN, (from + max) * LOG_ENTRY_LEN - 1)
end
return { redis.call('HMGET', BATCH .. ARGV[1], BATCH_FIELDS), redis.call('STRLEN', log), entries,
  redis.call('HGET', META, 'epoch') or 0 }
