"""Blobs: documents and recordings of a tenant, in the NATS object store bucket `BLOBS` (`nats object ls BLOBS`)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import Final

from nats.js import JetStreamContext
from nats.js.api import ObjectMeta
from nats.js.object_store import ObjectStore

from headway.bus.errors import InvalidSubject, NotFound, StoreError
from headway.bus.nats import values
from headway.bus.nats.refusals import asking_blobs
from headway.bus.nats.streams import BLOBS, BLOBS_BUCKET

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_./-]{0,199}")
_TIMEOUT = 30.0
_CHUNKS: Final = f"$O.{BLOBS_BUCKET}.C."
_TRIES: Final = 20
_AGAIN: Final = 0.1


class Blobs:
    """The blobs of one tenant."""

    __slots__ = ("_js", "_tenant")

    def __init__(self, js: JetStreamContext, tenant: str) -> None:
        self._js = js
        self._tenant = tenant

    async def put(self, name: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Store a blob, replacing one of the same name.

        Args:
            name: letters, digits and `_ . / -`, at most 200.
            data: its bytes.
            content_type: its media type.

        Raises:
            InvalidSubject: if the name has other characters.
            StoreError: if the bucket is missing or full.
            ConnectionFailed: without an answer in time.
        """
        key = self._key(name)
        async with asking_blobs(BLOBS_BUCKET, key, _TIMEOUT):
            store = self._store()
            # A list, as other clients expect it: they cannot read the metadata of a blob with a plain string.
            await store.put(key, data, meta=ObjectMeta(name=key, headers={"Content-Type": [content_type]}))

    async def get(self, name: str) -> bytes:
        """Read a blob.

        Its parts are read by direct gets: a consumer would need the right to make one, and so to choose where it
        delivers.

        Raises:
            NotFound: if there is no blob of that name.
            StoreError: as `put`, and if it is not what was stored.
            InvalidSubject, ConnectionFailed: as `put`.
        """
        key = self._key(name)
        async with asking_blobs(BLOBS_BUCKET, key, _TIMEOUT):
            info = await self._store().get_info(key)
            for _ in range(_TRIES):
                data = b"".join([chunk.data async for chunk in values.since(self._js, BLOBS, f"{_CHUNKS}{info.nuid}")])
                if len(data) == (info.size or 0):
                    break
                await asyncio.sleep(_AGAIN)  # the replica that answered does not have all of it yet
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
        if data and (info.digest or "").partition("=")[2] != digest:
            raise StoreError(f"blob {key} is damaged or incomplete", remedy="store it again")
        return data

    async def delete(self, name: str) -> None:
        """Delete a blob; a missing blob is not an error.

        Raises:
            InvalidSubject, StoreError, ConnectionFailed: as `put`.
        """
        key = self._key(name)
        try:
            async with asking_blobs(BLOBS_BUCKET, key, _TIMEOUT):
                store = self._store()
                await store.delete(key)
        except NotFound:
            return

    def _key(self, name: str) -> str:
        if _NAME.fullmatch(name) is None or ".." in name:
            raise InvalidSubject(
                f"{name!r} is not a valid blob name", remedy="use letters, digits and _ . / -, at most 200 characters"
            )
        return f"{self._tenant}/{name}"

    def _store(self) -> ObjectStore:
        # Built directly: nats-py's lookup requests the stream first, a round trip for every blob.
        return ObjectStore(name=BLOBS_BUCKET, stream=BLOBS, js=self._js)
