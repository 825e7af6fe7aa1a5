-- Announces a revocation, and keeps it until it expires. If it is kept already, encrypts it again only, so
-- that all replicas can add all of theirs.
-- KEYS: stream, counter, expiries, entries.
-- ARGV: encrypted news, greatest length, channel of hints, name, expiry, encrypted entry.
local time = redis.call('TIME')
-- Later than they expire, as clocks may differ.
local past = time[1] * 1000 - 300000
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', past, 'LIMIT', 0, 100)) do
    redis.call('ZREM', KEYS[3], name)
    redis.call('HDEL', KEYS[4], name)
end
if tonumber(redis.call('ZSCORE', KEYS[3], ARGV[4]) or 0) >= tonumber(ARGV[5]) then
    redis.call('HSET', KEYS[4], ARGV[4], ARGV[6])
    return 0
end
redis.call('HSET', KEYS[4], ARGV[4], ARGV[6])
redis.call('ZADD', KEYS[3], ARGV[5], ARGV[4])
append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
return 1
