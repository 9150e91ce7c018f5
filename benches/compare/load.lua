-- wrk's side of the workloads: which request comes next, and the sums as one line of JSON.
-- Arguments: plain | walk PATTERN N | routes PATTERN N | trace KEYS MISSES SEED | upload BYTES

-- The names of the pattern with 1 to N, in steps: of one, so that all are asked for soon, or scattered.
local function names(pattern, count, step)
  local requests = {}
  for i = 1, count do requests[i] = wrk.format(nil, string.format(pattern, i)) end
  local at = 0
  request = function()
    at = (at + step) % count
    return requests[at + 1]
  end
end

-- Zipf (exponent 0.9) over KEYS stored names; every MISSES-th request is for one that nobody has asked for.
local function trace(keys, misses, seed)
  local weights, sum = {}, 0
  for i = 1, keys do sum = sum + 1 / i ^ 0.9; weights[i] = sum end
  math.randomseed(tonumber(seed) % 2147483647)
  local drawn = {}
  for i = 1, 65536 do
    local point, low, high = math.random() * sum, 1, keys
    while low < high do
      local middle = math.floor((low + high) / 2)
      if weights[middle] < point then low = middle + 1 else high = middle end
    end
    drawn[i] = wrk.format(nil, "/z/" .. low)
  end
  local at = 0
  request = function()
    at = at + 1
    if at % misses == 0 then return wrk.format(nil, "/z/new?" .. seed .. "-" .. at) end
    return drawn[at % 65536 + 1]
  end
end

function init(args)
  local kind = args[1]
  if kind == "walk" then
    names(args[2], tonumber(args[3]), 1)
  elseif kind == "routes" then
    -- A step without a common divisor meets all of them.
    names(args[2], tonumber(args[3]), 7919)
  elseif kind == "trace" then
    trace(tonumber(args[2]), tonumber(args[3]), args[4])
  elseif kind == "upload" then
    wrk.method = "POST"
    wrk.body = string.rep("x", tonumber(args[2]))
    wrk.headers["Content-Type"] = "application/octet-stream"
  end
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.6f,"bytes":%d,"failed":%d,"unexpected":%d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
