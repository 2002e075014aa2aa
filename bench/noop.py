"""The HTTP baseline: routes with the same body and response that do nothing, on the same server settings."""

import click
import uvicorn
from fastapi import FastAPI

from app.domain.commands import Allocate
from app.service_layer.results import AllocationState

app = FastAPI()


@app.get("/livez")
async def livez() -> dict[str, str]:
    """Report that the process is alive."""
    return {"status": "alive"}


@app.post("/v1/allocations", status_code=201)
async def allocate(command: Allocate) -> AllocationState:
    """Parse a command, return an allocation."""
    return AllocationState(
        order_id=command.order_id,
        sku=command.sku,
        qty=command.qty,
        status="allocated",
        batch_ref="batch-1",
        eta=None,
        held_until=None,
    )


@app.get("/v1/allocations/{order_id}")
async def get_allocations(order_id: str) -> list[AllocationState]:
    """Return an order of one line."""
    return [
        AllocationState(
            order_id=order_id, sku="sku-1", qty=1, status="allocated", batch_ref="batch-1", eta=None, held_until=None
        ),
    ]


@click.command()
@click.option("--port", type=int, required=True)
def main(port: int) -> None:
    """Serve with the settings of `allocation serve`."""
    uvicorn.run(
        app,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
    )


if __name__ == "__main__":
    main()
