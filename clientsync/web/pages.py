"""The pages: static files, with the headers that keep others out of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NAMED_BY_CONTENT: Final = re.compile(r"[.-][A-Za-z0-9_]{8,}\.(js|css|woff2|svg|png|webp)(\.map)?$")
_FOREVER: Final = "public, max-age=31536000, immutable"
_LOOK_AGAIN: Final = "no-cache"

_FIXED: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def policy(ws_url: str) -> str:
    """The content security policy: nothing from elsewhere, no inline script, connections home and to the server."""
    parts = urlsplit(ws_url)
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            "font-src 'self'",
            "manifest-src 'self'",
            "worker-src 'self'",
            "frame-src 'self'",
            f"connect-src 'self' {parts.scheme}://{parts.netloc}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
        ]
    )


class SecurityHeaders:
    """Adds the headers to every answer.

    Args:
        app: what answers.
        policy: the content security policy.
    """

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._headers = {**_FIXED, "Content-Security-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, guarded if scope["type"] == "http" else send)


class Pages:
    """Static files of a directory, which need not be there.

    Args:
        directory: where they are.
    """

    def __init__(self, directory: Path) -> None:
        self._files = StaticFiles(directory=directory, html=True, check_dir=False)
        self._directory = directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if not self._directory.is_dir():
            said = "The pages are not built: run `npm ci && npm run build` in clientsync/browser.\n"
            await PlainTextResponse(said, status_code=404)(scope, receive, send)
            return
        if _is_directory_without_slash(self._directory, scope["path"]):
            # The answer of Starlette is absolute, and would lead out of the path that a proxy serves this below.
            name = scope["path"].rpartition("/")[2]
            await Response(status_code=307, headers={"Location": f"{name}/"})(scope, receive, send)
            return
        lasting = _FOREVER if _NAMED_BY_CONTENT.search(scope["path"]) else _LOOK_AGAIN

        async def cached(message: Message) -> None:
            if message["type"] == "http.response.start":
                good = message["status"] in (200, 206, 304)
                MutableHeaders(scope=message)["Cache-Control"] = lasting if good else "no-store"
            await send(message)

        await self._files(scope, receive, cached)


def _is_directory_without_slash(directory: Path, path: str) -> bool:
    """Return whether a path names a directory of pages, such as `/console`, without a slash at its end."""
    name = path.removeprefix("/")
    return "/" not in name and ".." not in name and name != "" and (directory / name).is_dir()
