-- Appends news to the stream. Its ids are numbers without gaps, so that a reader notices what it missed.
-- A new stream begins at the time in microseconds, which is above every number of an older one.
-- KEYS: stream, counter. ARGV: encrypted news, greatest length, channel of hints.
if redis.call('EXISTS', KEYS[2]) == 0 then
    local time = redis.call('TIME')
    redis.call('SET', KEYS[2], string.format('%.0f', time[1] * 1000000 + time[2]))
end
local number = string.format('%.0f', redis.call('INCR', KEYS[2]))
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], number .. '-0', 'd', ARGV[1])
redis.call('PUBLISH', ARGV[3], '')
return number
