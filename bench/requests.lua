-- The requests of `bench.load.post_allocations`, for wrk: order prefix, SKU prefix and number of SKUs are arguments.
local body = '{"order_id":"%s-%d","sku":"%s%d","qty":1,"if_unavailable":"reject"}'
local head = "POST /v1/allocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
local number = 0
local order_prefix, sku_prefix, skus

function init(arguments)
  order_prefix, sku_prefix, skus = arguments[1], arguments[2], tonumber(arguments[3])
end

function request()
  local content = body:format(order_prefix, number, sku_prefix, number % skus)
  number = number + 1
  return head:format(#content, content)
end

function done(summary, latency)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(("\nJSON {\"answered\": %d, \"failed\": %d, \"seconds\": %f, \"p99_ms\": %f}\n"):format(
    summary.requests, failed, summary.duration / 1e6, latency:percentile(99) / 1e3))
end
