-- Returns a customer's value, or takes the lease to fetch it.
-- KEYS: value, lease, limit.
-- ARGV: id of the new lease, its time, newest version the caller has, least life, greatest age or '',
--       id of the lease that the caller waited for or '', interval and burst of the limit or ''.
-- Times are in milliseconds, those of the limit in microseconds.
--
-- A value is its kind (c: customer, n: not found), its version (13 digits: when it was fetched), the
-- life below which it is not returned (10 digits), and the encrypted entry.
-- A lease is ID (held), ID+ (held after a failure of another replica), ~ID (purged while held),
-- !ID CODE (failed), or ?ID (its holder had trouble of its own: the next one may try).
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)
local value = redis.call('GET', KEYS[1])
local version = value and tonumber(string.sub(value, 2, 14))
local floor = value and tonumber(string.sub(value, 15, 24))
local left, age, is_usable = 0, 0, false
if not version or not floor then
    value = false
else
    left = redis.call('PTTL', KEYS[1])
    age = math.max(0, now - version)
    is_usable = left >= floor
    local is_new = version > tonumber(ARGV[3]) and (ARGV[5] == '' or age <= tonumber(ARGV[5]))
    local least = math.max(floor, tonumber(ARGV[4]))
    if string.sub(value, 1, 1) == 'n' or (is_new and left >= least) then
        return {'found', value, left, age}
    end
    if version <= tonumber(ARGV[3]) then
        value = false
    end
end
local lease = redis.call('GET', KEYS[2])
local again = ''
if lease then
    local mark = string.sub(lease, 1, 1)
    if mark == '?' then
        again = '+'
    elseif mark == '~' then
        return {'elsewhere', string.sub(lease, 2, 33), value, left, age}
    elseif mark ~= '!' then
        return {'elsewhere', string.sub(lease, 1, 32), value, left, age}
    elseif string.sub(lease, 2, 33) == ARGV[6] then
        return {'failed', string.sub(lease, 35)}
    end
end
if ARGV[7] ~= '' and is_usable then
    local full_at = math.max(tonumber(redis.call('GET', KEYS[3]) or 0), micros)
    if full_at - micros > ARGV[7] * (ARGV[8] - 1) then
        return {'limited', value, left, age}
    end
    full_at = full_at + ARGV[7]
    local time_to_full = math.ceil((full_at - micros) / 1000)
    redis.call('SET', KEYS[3], string.format('%.0f', full_at), 'PX', time_to_full)
end
redis.call('SET', KEYS[2], ARGV[1] .. again, 'PX', ARGV[2])
return {'fetch', value, left, age}
