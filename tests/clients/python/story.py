"""The README's story with the client that openapi-python-client makes."""

import sys
from datetime import date

from allocation_client import AuthenticatedClient
from allocation_client.api.allocations import allocate, cancel_allocation, get_allocations
from allocation_client.api.batches import change_batch, create_batch
from allocation_client.models import (
    Allocate,
    AllocationPreview,
    AllocationState,
    BatchChanges,
    BatchState,
    ChangedBatch,
    CreateBatch,
    IfUnavailable,
    Problem,
)

url, sku = sys.argv[1:]
older, newer, order = f"older-{sku}", f"newer-{sku}", f"order-{sku}"

with AuthenticatedClient(base_url=url, token="where the service asks for one") as client:
    for ref, day in ((older, 1), (newer, 2)):
        batch = CreateBatch(ref=ref, sku=sku, qty=10, eta=date(2030, 1, day))
        recorded = create_batch.sync(client=client, body=batch, idempotency_key=f"key-{ref}")
        assert isinstance(recorded, BatchState), recorded

    line = Allocate(order_id=order, sku=sku, qty=10, if_unavailable=IfUnavailable.BACKORDER)
    allocated = allocate.sync(client=client, body=line)
    assert isinstance(allocated, AllocationState), allocated
    print("allocated", str(allocated.batch_ref == older).lower())
    changed = change_batch.sync(older, client=client, body=BatchChanges(qty=5, reallocate=False))
    assert isinstance(changed, ChangedBatch), changed
    print("moved", str(changed.moved[0].to_batch_ref == newer).lower())

    large = Allocate(order_id=f"large-{sku}", sku=sku, qty=50)
    preview = allocate.sync(client=client, body=large, dry_run=True)
    assert isinstance(preview, AllocationPreview), preview
    print("reason", preview.reason.value)
    print("explained", str(preview.explanation != "").lower())
    large.if_unavailable = IfUnavailable.REJECT
    refused = allocate.sync(client=client, body=large)
    assert isinstance(refused, Problem), refused
    print("code", refused.code)

    cancel_allocation.sync_detailed(order, sku, client=client)
    gone = get_allocations.sync_detailed(order, client=client)
    print("cancelled", str(gone.status_code.value == 404).lower())
