-- wrk's script: requests with the bearer tokens of a file, one a line, in turn. All are made before
-- the clock runs. At the end, what was seen as one line.

local requests, number, last = {}, 0, 0

function init(arguments)
  local head = "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
  for token in io.lines(arguments[1]) do
    number = number + 1
    requests[number] = head .. token .. "\r\n\r\n"
  end
end

function request()
  last = last % number + 1
  return requests[last]
end

function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("seen %d %d %d %d %d %d %d\n", summary.requests, summary.duration,
    errors.status, broken, latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
