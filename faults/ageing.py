"""Rows that age quickly, so that housekeeping deletes them during a round although it keeps them for days.

Rows of the inbox, of stored responses, of tokens of commits and of carts that are older than `SECONDS` get a time
before the retention. The service deletes them with its own statements and its default settings.
"""

import asyncio

import asyncpg

from faults.background import Background
from faults.client import Connection, NoAnswerError
from faults.database import Database
from faults.observe import Changes
from faults.trial import Installation

SECONDS = 60
INTERVAL = 5.0
CARTS = 10
"""New carts in each interval. Nothing is ordered with them."""

CREATED = {200, 201}

INBOX = """
    UPDATE inbox SET received_at = received_at - interval '100 days'
    WHERE received_at BETWEEN now() - interval '1 day' AND now() - make_interval(secs => $1)
    RETURNING message_id
"""
KEYS = """
    UPDATE idempotency_keys SET created_at = created_at - interval '100 days'
    WHERE created_at BETWEEN now() - interval '1 day' AND now() - make_interval(secs => $1)
"""
TOKENS = """
    UPDATE commit_tokens SET noted_at = noted_at - interval '100 days'
    WHERE noted_at BETWEEN now() - interval '1 day' AND now() - make_interval(secs => $1)
"""
# Carts have only the day of their last change, and their numbers.
OLD_CARTS = "UPDATE carts SET changed_on = changed_on - 100 WHERE changed_on > current_date - 50 AND cart_id < $1"


class Ageing(Background):
    """Makes carts, and lets rows age."""

    def __init__(self, where: Installation, changes: Changes) -> None:
        """`changes` gets the messages whose rows have aged."""
        super().__init__("ageing")
        self._where = where
        self._database = Database(where.dsn, where.cells)
        self._changes = changes
        self.carts = 0

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            try:
                asyncio.run(self._make_carts())
                self._changes.aged += [name for (name,) in self._database.ask_each(INBOX, SECONDS)]
                self._database.ask_each(KEYS, SECONDS)
                self._database.ask_each(TOKENS, SECONDS)
                self._database.ask_each(OLD_CARTS, _cart(self.carts - int(CARTS * SECONDS / INTERVAL)))
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, NoAnswerError):
                # PostgreSQL or a server is restarting.
                continue

    async def _make_carts(self) -> None:
        async with Connection(self._where.http_ports()[0]) as connection:
            for _ in range(CARTS):
                path = f"/v1/carts/{_cart(self.carts)}/items/SKU-HOT"
                status, _ = await connection.request("PUT", path, {"qty": 1, "unit_price": 100})
                self.carts += status in CREATED


def _cart(number: int) -> str:
    return f"cart-{max(number, 0):09}"
