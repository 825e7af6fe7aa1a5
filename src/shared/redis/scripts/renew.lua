-- Extends a lease, also one that was purged: others wait until its fetch has ended.
-- KEYS: lease. ARGV: id of the lease, its time.
local lease = redis.call('GET', KEYS[1])
if lease == ARGV[1] or lease == ARGV[1] .. '+' or lease == '~' .. ARGV[1] then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
