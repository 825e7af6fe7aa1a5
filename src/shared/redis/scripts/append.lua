-- The first part of scripts that announce something: appends it to the stream. The ids of news are
-- numbers without gaps, so that a reader notices what it missed. A new stream begins at the time in
-- microseconds, which is above every number of an older one.
local function append(stream, counter, news, length, channel)
    if redis.call('EXISTS', counter) == 0 then
        local time = redis.call('TIME')
        redis.call('SET', counter, string.format('%.0f', time[1] * 1000000 + time[2]))
    end
    local number = string.format('%.0f', redis.call('INCR', counter))
    redis.call('XADD', stream, 'MAXLEN', '~', length, number .. '-0', 'd', news)
    redis.call('PUBLISH', channel, '')
    return number
end
