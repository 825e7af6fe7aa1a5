-- Adds responses with one version of a token, and returns their total.
-- KEYS: counter of the version. ARGV: number, time to live.
local total = redis.call('INCRBY', KEYS[1], ARGV[1])
if total == tonumber(ARGV[1]) then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return total
