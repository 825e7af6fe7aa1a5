-- Returns a page of the revocations, those that expire last first: removed ones are at the other end, so
-- a reader of all pages skips none.
-- KEYS: expiries, entries. ARGV: number of the first, number of the last.
local found = {}
for place, name in ipairs(redis.call('ZREVRANGE', KEYS[1], ARGV[1], ARGV[2])) do
    found[place] = {name, redis.call('HGET', KEYS[2], name)}
end
return found
