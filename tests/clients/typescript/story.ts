// The README's story with the types of openapi-typescript and the client openapi-fetch.
import createClient from "openapi-fetch";
import type { components, paths } from "./allocation.js";

const [url, sku] = process.argv.slice(2);
if (url === undefined || sku === undefined) throw new Error("usage: story URL SKU");
const api = createClient<paths>({ baseUrl: url });
const [older, newer, order] = [`older-${sku}`, `newer-${sku}`, `order-${sku}`];

type Answer<Data> = { data?: Data; error?: unknown };
function dataOf<Data>({ data, error }: Answer<Data>): Data {
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

for (const [ref, eta] of [[older, "2030-01-01"], [newer, "2030-01-02"]] as const) {
  dataOf(await api.POST("/v1/batches", {
    params: { header: { "Idempotency-Key": `key-${ref}` } },
    body: { ref, sku, qty: 10, eta },
  }));
}

// Neither `if_unavailable` nor `reallocate` has to be given: a default makes no property required.
const line: components["schemas"]["Allocate"] = { order_id: order, sku, qty: 10 };
const allocated = dataOf(await api.POST("/v1/allocations", { body: line }));
console.log("allocated", allocated.batch_ref === older);
dataOf(await api.PATCH("/v1/batches/{ref}", { params: { path: { ref: newer } }, body: { qty: 11 } }));
const changed = dataOf(await api.PATCH("/v1/batches/{ref}", {
  params: { path: { ref: older } },
  body: { qty: 5, reallocate: false },
}));
console.log("moved", changed.moved[0]?.to_batch_ref === newer);

const large = { order_id: `large-${sku}`, sku, qty: 50 };
const preview = dataOf(await api.POST("/v1/allocations", { params: { query: { dry_run: true } }, body: large }));
if (!("reason" in preview)) throw new Error("no reason");
console.log("reason", preview.reason);
console.log("explained", preview.explanation !== "");

const refused = await api.POST("/v1/allocations", { body: { ...large, if_unavailable: "reject" } });
console.log("code", refused.error?.code);

await api.DELETE("/v1/allocations/{order_id}/{sku}", { params: { path: { order_id: order, sku } } });
const gone = await api.GET("/v1/allocations/{order_id}", { params: { path: { order_id: order } } });
console.log("cancelled", gone.response.status === 404);
