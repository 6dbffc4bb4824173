"""`headway apply` and `headway scaler --contained`: an installation whose servers something else runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest

from headway.broker import testing
from headway.bus.nats import streams
from tests.support.headway_process import APP, environment

YAML = """
services:
  hello:
    app: app:hello
    workers: 2
"""


async def _run(folder, *arguments, **env) -> tuple[int, str]:
    async with _started(folder, *arguments, **env) as process:
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
        return process.returncode, output.decode()


@asynccontextmanager
async def _started(folder, *arguments, **env):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "headway",
        *arguments,
        cwd=folder,
        env=environment(HEADWAY_POOL="here", **env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_on_a_cluster_it_is_applied_scaled_and_drained(tmp_path, until):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "headway.yaml").write_text(YAML)
    alive = tmp_path / "alive"
    async with testing.cluster(replicas=None) as cluster:
        broker = cluster.broker
        place = {"HEADWAY_NATS_URL": broker.url}
        code, said = await _run(tmp_path, "apply", "--dir", str(broker.data_dir), **place)
        assert code == 0, said
        assert "applied: hello on n0, n1, n2" in said
        async with await broker.connect("operator") as bus:
            for name in ("EVENTS", "OBJECTS", "JOBS_hello"):
                assert (await bus.js.stream_info(name)).config.num_replicas == 3, name
            assert await broker.routes() == {"hello": {"v1": 100}}
            receipt = await bus.submit("hello", "letter", {"name": "Early"}, tenant="acme")
            assert receipt.stream == streams.jobs_stream("hello"), "kept before there is any worker"

            data = str(broker.data_dir)
            options = ("--contained", "--alive", str(alive))
            async with _started(tmp_path, "scaler", "--dir", data, *options, **place) as scaler:

                async def written() -> bool:
                    return await bus.tenant("acme").objects.get("letter", "Early", dict) is not None

                await until(written, timeout=60)
                await until(alive.exists)
                pid = (await bus.tenant("acme").objects.get("letter", "Early", dict)).value["pid"]
                scaler.send_signal(signal.SIGTERM)
                async with asyncio.timeout(60):
                    output, _ = await scaler.communicate()
                assert scaler.returncode == 0, output.decode()
                assert "hello v1 has stopped" in output.decode(), "workers drained, and we were shown what they wrote"
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)

        again, said = await _run(tmp_path, "apply", "--dir", data, **place)
        assert again == 0, said


async def test_servers_that_do_not_come_are_named(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "headway.yaml").write_text(YAML)
    port = testing._free_ports(1)[0]
    place = {"HEADWAY_NATS_URL": f"nats://127.0.0.1:{port}"}
    testing.Identities.create_or_load(tmp_path / "keys")
    code, said = await _run(tmp_path, "apply", "--dir", "keys", "--wait", "1", **place)
    assert code == 11, said
    assert "is not ready after 1 s" in said
    assert "--wait gives them more time" in said
