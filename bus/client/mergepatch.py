"""JSON merge patch, RFC 7386: what a member is given replaces it, null removes it, an object changes what is inside."""

from __future__ import annotations

from typing import Any


def merged(target: Any, patch: Any) -> Any:
    """The patched value. Neither argument is changed.

    Args:
        target: plain JSON types.
        patch: likewise.
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
