-- Ends a lease without a value.
-- KEYS: lease, value. ARGV: id of the lease, '!' (waiting requests fail), '?' (another one may try) or ''
--       (no failure), code, time, '1' to remove the value.
local lease = redis.call('GET', KEYS[1])
local is_own = lease == ARGV[1] or lease == ARGV[1] .. '+'
if ARGV[5] == '1' and is_own then
    redis.call('DEL', KEYS[2])
end
if lease == '~' .. ARGV[1] then
    redis.call('DEL', KEYS[1])
elseif ARGV[2] == '' then
    if is_own then
        redis.call('DEL', KEYS[1])
    end
elseif lease == ARGV[1] and ARGV[2] == '?' then
    redis.call('SET', KEYS[1], '?' .. ARGV[1], 'PX', ARGV[4])
elseif is_own then
    redis.call('SET', KEYS[1], '!' .. ARGV[1] .. ' ' .. ARGV[3], 'PX', ARGV[4])
end
return 1
