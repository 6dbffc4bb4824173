"""Several `headway up` on one server: each service is run by one of them, and each gives back only what is its own."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from headway.broker.identity import KEY_FILE
from tests.support.headway_process import FREE, eventually

OTHER = """
from headway import Service

other = Service("other")

@other.rpc("ping")
async def ping(request: int) -> int:
    return request
"""


@pytest.fixture
def host(fresh, tmp_path):
    """A `headway up` with a server, which runs the service `other`."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "other.py").write_text(OTHER)
    running = fresh("other:other", *FREE, folder=folder)
    running.says("ready:")
    return running


def joining(host, folder: Path) -> dict[str, Any]:
    """What makes an `up` in a directory of its own, which has the installation's keys, use the server of the host."""
    store = folder / ".headway"
    store.mkdir(parents=True, exist_ok=True)
    if not (store / KEY_FILE).exists():
        shutil.copy(host.folder / ".headway" / KEY_FILE, store / KEY_FILE)
    return {"folder": folder, "HEADWAY_NATS_URL": host.json_of("running.json")["url"]}


def greets(host) -> bool:
    answer = host.run("call", "hello", "greet", '{"name": "Ada"}', "--tenant", "acme", "--timeout", "5")
    return "Hello Ada" in answer.stdout


def test_a_second_up_of_a_service_that_somebody_runs_is_refused_and_stopping_it_stops_nobody(fresh, host, tmp_path):
    first = fresh("app:hello", **joining(host, tmp_path / "first"))
    first.says("ready:")
    for folder in (tmp_path / "second", first.folder):
        second = fresh("app:hello", output="second-output", **joining(host, folder))
        assert second.process.wait(40) == 2
        assert f"hello is run by `headway up` in {first.folder}/.headway (process {first.process.pid}" in second.said
    assert greets(host)
    again = fresh("other:other", *FREE, output="again", **joining(host, host.folder))
    assert again.process.wait(40) == 2
    assert f"(process {host.process.pid}" in again.said


def test_leaving_gives_back_only_what_is_ones_own(fresh, host, tmp_path):
    first = fresh("app:hello", **joining(host, tmp_path / "first"))
    first.says("ready:")
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(40) == 0
    assert host.run("call", "other", "ping", "1", "--tenant", "acme").stdout.strip() == "1"
    second = fresh("app:hello", **joining(host, tmp_path / "second"))
    second.says("ready:")
    assert greets(host)


def test_what_a_killed_up_ran_is_free_at_once_on_the_same_machine(fresh, host, tmp_path):
    first = fresh("app:hello", **joining(host, tmp_path / "first"))
    first.says("ready:")
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait(40)
    second = fresh("app:hello", output="second", **joining(host, first.folder))
    second.says("ready:")
    eventually(lambda: greets(host))


def test_a_host_that_starts_anew_leaves_services_that_joined_alone(fresh, host, tmp_path):
    first = fresh("app:hello", **joining(host, tmp_path / "first"))
    first.says("ready:")
    port = host.json_of("running.json")["url"].rsplit(":", 1)[1]
    host.process.send_signal(signal.SIGINT)
    assert host.process.wait(40) == 0
    again = fresh("other:other", "--port", port, "--websocket-port", "0", folder=host.folder, output="again")
    again.says("ready:")
    eventually(lambda: greets(again), "its routes or its workers are gone")
    assert first.process.poll() is None
