"""`fax` on a real server."""

from __future__ import annotations

import asyncio
import base64
import io
import time

import orjson
import pytest
from PIL import Image

from headway import Rejected
from headway.services.fax import FaxState, FaxStatus, fax
from headway.services.fax.line import Answer, answer
from headway.services.fax.models import FaxConfig
from headway.services.fax.pages import frames

TENANT = "acme"
QUICK = {"speed": 10_000, "busy_share": 0, "no_answer_share": 0}


async def submit(bus, id_: str, **fields) -> None:
    request = {"fax": id_, "to": "+49 30 123456", "from": "Acme", **fields}
    await bus.submit("fax", "send", request, tenant=TENANT, key=id_)


async def until(bus, id_: str, *states: FaxState) -> FaxStatus:
    """The status of a fax once it is in one of these states."""
    async with asyncio.timeout(10):
        while True:
            try:
                found = await bus.call("fax", "status", {"fax": id_}, tenant=TENANT, returns=FaxStatus)
            except Rejected:
                found = None
            if found is not None and found.state in states:
                return found
            await asyncio.sleep(0.01)


def png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (200, 100)).save(file, "PNG")
    return file.getvalue()


async def dead_letters(bus) -> dict[str, str]:
    """Cause and reason of the dead letter there is."""
    async with asyncio.timeout(10):
        while True:
            info = await bus.bus.js.stream_info("DEAD")
            if info.state.messages:
                letter = await bus.bus.js.get_msg("DEAD", info.state.last_seq)
                return letter.headers or {}
            await asyncio.sleep(0.01)


async def test_a_text_is_sent_and_its_document_stored(bus):
    async with bus.serving(fax, config=QUICK):
        await submit(bus, "f1", text="hello\fworld")
        status = await until(bus, "f1", FaxState.SENT)
        assert (status.page, status.pages, status.dials, status.reason) == (2, 2, 1, None)
        assert len(list(frames(await bus.tenant(TENANT).blobs.get(status.document)))) == 2


async def test_other_clients_can_read_the_description_of_a_document(bus):
    async with bus.serving(fax, config=QUICK):
        await submit(bus, "f1", text="hello")
        await until(bus, "f1", FaxState.SENT)
        name = base64.urlsafe_b64encode(f"{TENANT}/fax/f1.tiff".encode()).decode()
        meta = await bus.bus.js.get_last_msg("OBJ_BLOBS", f"$O.BLOBS.M.{name}")
        assert orjson.loads(meta.data)["headers"] == {"Content-Type": ["image/tiff"]}


async def test_images_come_in_the_message_or_as_blobs(bus):
    async with bus.serving(fax, config=QUICK):
        await bus.tenant(TENANT).blobs.put("uploads/a.png", png())
        images = [{"data": base64.b64encode(png()).decode()}, {"blob": "uploads/a.png"}]
        await submit(bus, "f1", images=images)
        assert (await until(bus, "f1", FaxState.SENT)).pages == 2


async def test_progress_is_shown_step_by_step(bus):
    seen: list[tuple[FaxState, int]] = []
    sent = asyncio.Event()

    async def watch(message) -> None:
        status = FaxStatus.model_validate_json(message.data)
        seen.append((status.state, status.page))
        if status.state is FaxState.SENT:
            sent.set()

    async with bus.serving(fax, config=QUICK):
        await bus.bus.nc.subscribe(f"live.{TENANT}.fax.f1", cb=watch)
        await bus.bus.nc.flush()
        await submit(bus, "f1", text="hello\fworld")
        await asyncio.wait_for(sent.wait(), 10)
    assert seen == [
        (FaxState.RENDERING, 0),
        (FaxState.RENDERING, 0),
        (FaxState.DIALING, 0),
        (FaxState.SENDING, 0),
        (FaxState.SENDING, 1),
        (FaxState.SENT, 2),
    ]


async def test_a_busy_line_is_dialled_again(bus):
    config = {**QUICK, "busy_share": 0.5}
    unlucky = next(
        f"f{n}"
        for n in range(100)
        if [answer(f"f{n}", dial, FaxConfig(**config)) for dial in (1, 2)] == [Answer.BUSY, Answer.ANSWERED]
    )
    async with bus.serving(fax, config=config):
        await submit(bus, unlucky, text="hello")
        waiting = await until(bus, unlucky, FaxState.QUEUED)
        assert (waiting.reason, waiting.pages) == ("busy", 1)
        assert (await until(bus, unlucky, FaxState.SENT)).dials == 2


async def test_a_wrong_number_fails_for_good_and_says_so(bus):
    async with bus.serving(fax, config=QUICK):
        await submit(bus, "f1", to="not a number", text="hello")
        assert "not a telephone number" in ((await until(bus, "f1", FaxState.FAILED)).reason or "")
        letter = await dead_letters(bus)
        assert letter["Headway-Dead-Cause"] == "rejected"
        assert "not a telephone number" in letter["Headway-Dead-Reason"]


async def test_a_bad_id_is_refused_before_anything_is_stored(bus):
    async with bus.serving(fax, config=QUICK):
        await bus.submit("fax", "send", {"fax": "a.b", "to": "110", "text": "x"}, tenant=TENANT)
        assert (await dead_letters(bus))["Headway-Dead-Cause"] == "invalid_input"
        assert await bus.tenant(TENANT).objects.list("fax", as_=FaxStatus) == []


async def test_a_sent_fax_is_not_sent_again(bus):
    async with bus.serving(fax, config=QUICK):
        request = {"fax": "f1", "to": "110", "text": "hello"}
        await bus.submit("fax", "send", request, tenant=TENANT)
        first = await until(bus, "f1", FaxState.SENT)
        await bus.submit("fax", "send", request, tenant=TENANT)
        await submit(bus, "f2", text="after it")
        await until(bus, "f2", FaxState.SENT)
        assert await until(bus, "f1", FaxState.SENT) == first


async def test_an_id_cannot_be_used_for_another_document(bus):
    async with bus.serving(fax, config=QUICK):
        await bus.submit("fax", "send", {"fax": "f1", "to": "110", "text": "one"}, tenant=TENANT)
        await until(bus, "f1", FaxState.SENT)
        await bus.submit("fax", "send", {"fax": "f1", "to": "110", "text": "two"}, tenant=TENANT)
        assert "another document" in (await dead_letters(bus))["Headway-Dead-Reason"]
        assert (await until(bus, "f1", FaxState.SENT)).state is FaxState.SENT


async def test_a_job_taken_over_goes_on_after_the_last_confirmed_page(bus):
    """What a worker that died in the middle leaves, picked up by the next: pages and document are used as they are."""
    request = {"fax": "f1", "to": "110", "text": "a\fb\fc"}
    async with bus.serving(fax, config=QUICK):
        await bus.submit("fax", "send", request, tenant=TENANT)
        whole = await until(bus, "f1", FaxState.SENT)
        half = whole.model_copy(update={"state": FaxState.SENDING, "page": 2, "at": time.time()})
        revision = await bus.tenant(TENANT).objects.put("fax", "f1", half)
        await bus.submit("fax", "send", request, tenant=TENANT)
        done = await until(bus, "f1", FaxState.SENT)
        assert (done.page, done.dials, done.document) == (3, 2, whole.document)
        now = await bus.tenant(TENANT).objects.get("fax", "f1", as_=FaxStatus)
        assert now is not None
        assert now.revision - revision == 3  # dialing, sending, the one page that was missing: no rendering


async def test_the_status_of_an_unknown_fax_is_refused(bus):
    async with bus.serving(fax, config=QUICK):
        with pytest.raises(Rejected, match="no fax nope"):
            await bus.call("fax", "status", {"fax": "nope"}, tenant=TENANT)
