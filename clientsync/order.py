"""One total order over JSON values, the same as in pages (browser/src/core/order.ts).

null comes first, then false and true, numbers, texts, arrays, objects. Numbers are compared as doubles, texts by code
point, arrays and objects item by item. browser/test/order.json tests both implementations.
"""

from __future__ import annotations

from typing import Any

OrderKey = tuple[int, Any]
"""A key that compares like the value it was made from."""


def order_key(value: Any) -> OrderKey:
    """Return a key that sorts JSON values of any types in their total order."""
    if value is None:
        return 0, None
    if isinstance(value, bool):
        return 1, value
    if isinstance(value, int | float):
        return 2, float(value)
    if isinstance(value, str):
        return 3, value
    if isinstance(value, list | tuple):
        return 4, [order_key(item) for item in value]
    return 5, [order_key(part) for item in sorted(value.items()) for part in item]
