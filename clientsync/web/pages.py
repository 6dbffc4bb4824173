"""The pages: static files with security headers."""

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
    """Return the content security policy: own resources only, no inline scripts, connections to `ws_url`."""
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
    """Adds security headers to every answer.

    Args:
        app: the application.
        policy: the content security policy.
    """

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._headers = {**_FIXED, "Content-Security-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, guarded if scope["type"] == "http" else send)


class Pages:
    """Serves the static files of a directory, which may be missing.

    Args:
        directory: the directory.
        before: one whose files come first: an application's own pages.
    """

    def __init__(self, directory: Path, before: Path | None = None) -> None:
        self._files = StaticFiles(directory=directory, html=True, check_dir=False)
        if before is not None:
            self._files.all_directories = [before, directory]
        self._directory = directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if not self._directory.is_dir():
            said = "The pages are not built: run `npm ci && npm run build` in clientsync/browser.\n"
            await PlainTextResponse(said, status_code=404)(scope, receive, send)
            return
        if _is_directory_without_slash(self._directory, scope["path"]):
            # Starlette redirects to an absolute path, which is wrong if a proxy serves this under a path prefix.
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
    """Return whether a path names a directory of pages without a trailing slash, such as `/console`."""
    name = path.removeprefix("/")
    return "/" not in name and ".." not in name and name != "" and (directory / name).is_dir()
