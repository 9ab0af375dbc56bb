-- Large parts of tasks that went ahead of this call, by id and fence, see apart.rs.

-- Whether all of them are there.
local function have_come(names)
  for from = 1, #names, CHUNK do
    local keys = {}
    for i = from, math.min(from + CHUNK - 1, #names) do keys[#keys + 1] = AHEAD .. names[i] end
    if redis.call('EXISTS', unpack(keys)) ~= #keys then return false end
  end
  return true
end

-- Puts them where they stay.
local function keep_parts(place, names)
  for _, name in ipairs(names) do
    local key = place .. string.sub(name, 1, ID_LEN)
    redis.call('RENAME', AHEAD .. name, key)
    redis.call('PERSIST', key)
  end
end

