"""JSON merge patch (RFC 7386): a value replaces a member, null removes it, an object is merged recursively."""

from __future__ import annotations

from typing import Any


def merged(target: Any, patch: Any) -> Any:
    """Return the patched value. Neither argument is changed.

    Args:
        target: the value to patch, in plain JSON types.
        patch: the merge patch, in plain JSON types.
    """
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found
