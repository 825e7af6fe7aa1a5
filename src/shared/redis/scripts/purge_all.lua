-- Begins a new generation: the names of all entries change, and the old ones expire.
-- KEYS: generation. ARGV: the caller's generation.
local generation = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(ARGV[1])) + 1
redis.call('SET', KEYS[1], string.format('%.0f', generation))
return string.format('%.0f', generation)
