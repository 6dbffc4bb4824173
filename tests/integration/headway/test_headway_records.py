"""`headway records`: what cannot be read is listed, told by doctor and status, and mended."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from headway.control.records import ServiceRecord, VersionRecord
from headway.control.store import Control, service_key, version_key


@pytest.fixture
async def headway(nats_broker, tmp_path):
    """Run a command as an operator; returns its exit code and what it wrote."""
    creds = tmp_path / "operator.creds"
    creds.write_text(nats_broker.identities.creds("operator"))

    async def run(*arguments: str) -> tuple[int, str]:
        where = ("--url", nats_broker.url, "--creds", str(creds), "--dir", str(tmp_path / "nothing"))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "headway",
            *arguments,
            *where,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, errors = await process.communicate()
        return process.returncode or 0, said.decode() or errors.decode()

    return run


async def test_a_damaged_record_is_listed_told_and_mended(nats_broker, headway):
    async with await nats_broker.connect("control") as bus:
        control = Control(bus)
        await control.put(service_key("fax"), ServiceRecord(service="fax", suspended=True))
        await control.put(version_key("fax", "v1"), VersionRecord(service="fax", version="v1", app="a:b", root="/"))
        assert await headway("records", "ls") == (0, "all control records can be read\n")
        await bus.records.js.publish("$KV.CONTROL.version.fax.v1", b"{")
        code, said = await headway("records", "ls", "--json")
        assert (code, list(json.loads(said))) == (1, ["version.fax.v1"])
        code, said = await headway("doctor", "--json")
        assert code == 1
        assert "record-unreadable" in {one["code"] for one in json.loads(said)["findings"]}
        assert "version.fax.v1" in json.loads((await headway("status", "--json"))[1])["unreadable"]
        code, said = await headway("records", "mend")
        assert code == 0, said
        assert said.startswith("version.fax.v1: restored")
        assert (await headway("records", "ls"))[0] == 0


async def test_what_can_be_read_is_not_mended(nats_broker, headway):
    async with await nats_broker.connect("control") as bus:
        await Control(bus).put(service_key("fax"), ServiceRecord(service="fax"))
        code, said = await headway("records", "mend", "service.fax")
        assert code == 2
        assert "can be read" in said
