-- Announces something.
-- KEYS: stream, counter. ARGV: encrypted news, greatest length, channel of hints.
return append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
