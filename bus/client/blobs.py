"""Blobs: documents and recordings of a tenant, in the NATS object store bucket `BLOBS` (`nats object ls BLOBS`)."""

from __future__ import annotations

import re
from typing import Any, cast

from nats.js import JetStreamContext
from nats.js.api import ObjectMeta
from nats.js.object_store import ObjectStore

from headway.bus.errors import InvalidSubject, NotFound
from headway.bus.nats.refusals import asking_blobs
from headway.bus.nats.streams import BLOBS, BLOBS_BUCKET

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_./-]{0,199}")
_TIMEOUT = 30.0


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

        Raises:
            NotFound: if there is no blob of that name.
            InvalidSubject, StoreError, ConnectionFailed: as `put`.
        """
        key = self._key(name)
        async with asking_blobs(BLOBS_BUCKET, key, _TIMEOUT):
            store = self._store()
            result = await store.get(key)
        return bytes(result.data or b"")

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
        return ObjectStore(name=BLOBS_BUCKET, stream=BLOBS, js=cast("JetStreamContext", _BlobsStream(self._js)))


class _BlobsStream:
    """A JetStream context that always reads from the stream of blobs.

    nats-py looks the stream up by its subject for every read: a round trip, and a permission that no role has.
    """

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    def __getattr__(self, name: str) -> Any:
        return getattr(self._js, name)

    async def subscribe(self, subject: str, *, ordered_consumer: bool) -> JetStreamContext.PushSubscription:
        return await self._js.subscribe(subject, stream=BLOBS, ordered_consumer=ordered_consumer)
