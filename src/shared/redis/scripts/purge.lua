-- Removes a customer. A running fetch will not be stored, and new ones wait until it has ended.
-- KEYS: value, lease.
local removed = redis.call('DEL', KEYS[1])
local lease = redis.call('GET', KEYS[2])
if lease then
    local mark = string.sub(lease, 1, 1)
    if mark == '!' or mark == '?' then
        redis.call('DEL', KEYS[2])
    elseif mark ~= '~' then
        redis.call('SET', KEYS[2], '~' .. string.sub(lease, 1, 32), 'KEEPTTL')
    end
end
return removed
