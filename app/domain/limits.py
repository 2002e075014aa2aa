"""The largest quantities and prices."""

MAX_QUANTITY = 2_147_483_647

MAX_PRICE = 2**53 - 1
"""The largest integer that every JSON parser reads exactly. It bounds unit prices and totals."""
