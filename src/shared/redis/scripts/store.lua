-- Stores a fetched value and ends the lease. Returns its version, or nothing if the lease is lost.
-- KEYS: value, lease. ARGV: id of the lease, kind, age, least life, time to live, encrypted entry.
local lease = redis.call('GET', KEYS[2])
if lease == '~' .. ARGV[1] then
    redis.call('DEL', KEYS[2])
end
if lease ~= ARGV[1] and lease ~= ARGV[1] .. '+' then
    return false
end
local time = redis.call('TIME')
local version = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[3]
-- A newer value has a larger version, even if the clock was set back by up to a day.
local old = tonumber(redis.call('GETRANGE', KEYS[1], 1, 13))
if old and old >= version and old < version + 86400000 then
    version = old + 1
end
local head = string.format('%s%013.0f%010.0f', ARGV[2], version, ARGV[4])
redis.call('SET', KEYS[1], head .. ARGV[6], 'PX', ARGV[5])
redis.call('DEL', KEYS[2])
return string.format('%.0f', version)
