-- Says how far a partition is, and begins a new epoch when it came back with less than the caller has seen of it.
--
-- KEYS[1]  the partition's meta key
-- ARGV     1 the last announcement the caller has seen   2 the epoch it knows   3 the reign it saw both under
--          4 schema and 5 partitions of a store that is to be made here
-- Returns  now, schema, partitions, last announcement, epoch, 1 when the caller has seen what is not there, reign

local info = redis.call('INFO', 'replication')
if string.match(info, 'role:(%a+)') ~= 'master' then
  return redis.error_reply('READONLY this server is not the primary')
end
local reign = string.match(info, 'master_replid:(%w+)') or 'unknown'
local seen, known, under = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local state = redis.call('HMGET', META, 'schema', 'partitions', 'seq', 'epoch', 'reign', 'base', 'lost', 'run')
local schema, partitions = state[1] or ARGV[4], state[2] or ARGV[5]
if not state[1] and state[4] then schema = '1' end
local seq, epoch, base = tonumber(state[3] or 0), tonumber(state[4] or 0), tonumber(state[6] or '')
if schema ~= ARGV[4] or partitions ~= ARGV[5] then
  return { clock(), schema, partitions, seq, epoch, 0, reign }
end

if state[5] ~= reign then
  -- The first caller under this reign: whoever comes later compares with how far the partition was now. A server that
  -- runs on renames its reign when its last replica has been away for long; there is nothing to compare with then,
  -- since callers that do not know it yet see what comes after.
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
  base = run ~= state[8] and seq or nil
  state[7] = '0'
  redis.call('HSET', META, 'schema', schema, 'partitions', partitions, 'reign', reign, 'base', base or '', 'lost', 0,
    'run', run)
end
local lost = under ~= '' and seen > (under ~= reign and base or seq)
if lost then
  if state[7] ~= '1' then
    epoch = math.max(epoch, known) + 1
    redis.call('HSET', META, 'epoch', epoch, 'lost', 1)
  end
  -- Numbers that were given out are not given out again.
  redis.call('HSET', META, 'seq', math.max(seq, seen))
  seq = announce('')
elseif epoch == 0 then
  epoch = math.max(known, 1)
  redis.call('HSET', META, 'epoch', epoch)
end
return { clock(), schema, partitions, seq, epoch, lost and 1 or 0, reign }
