-- Returns the generation, the number of the last news, and the news after the caller's.
-- KEYS: stream, counter, generation. ARGV: number of the last news that the caller has or '', the
-- caller's generation, greatest number of news.
-- A write that changes nothing: fails on a server that became a replica, which must not be used.
redis.call('PERSIST', KEYS[3])
local generation = redis.call('GET', KEYS[3]) or '0'
if tonumber(generation) < tonumber(ARGV[2]) then
    -- The server has lost it, or was restored from an old copy.
    generation = ARGV[2]
    redis.call('SET', KEYS[3], generation)
end
local last = redis.call('GET', KEYS[2])
if not last then
    local time = redis.call('TIME')
    last = string.format('%.0f', time[1] * 1000000 + time[2])
    redis.call('SET', KEYS[2], last)
end
local news = {}
if ARGV[1] ~= '' and ARGV[1] ~= last then
    news = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[3])
end
return {generation, last, news}
