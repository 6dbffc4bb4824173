"""`headway up` from start to end: what it refuses, what it survives, and that nothing is left of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import time

import pytest

from tests.support.headway_process import CRASHING, FREE, alive, children, eventually, headway, start


def ready(running):
    running.says("ready:")
    return running


def ended(running) -> int:
    return running.process.wait(40)


def test_ctrl_c_drains_and_leaves_no_process(fresh):
    running = ready(fresh("app:hello", *FREE))
    everything = children(running.process.pid)
    assert len(everything) >= 4, "a server, the scaler, a zygote and a worker"
    os.kill(running.process.pid, signal.SIGINT)
    assert ended(running) == 0
    assert not alive(everything)
    assert "has stopped" in running.said, "the worker drained"
    assert not (running.folder / ".headway" / "running.json").exists()


def test_killed_outright_it_leaves_no_process_either(fresh):
    running = ready(fresh("app:hello", *FREE))
    everything = children(running.process.pid)
    os.kill(running.process.pid, signal.SIGKILL)
    ended(running)
    eventually(lambda: not alive(everything), "a child outlived it")


def test_what_was_stored_is_there_after_a_restart(fresh):
    running = ready(fresh("app:hello", *FREE))
    running.run("submit", "hello", "letter", '{"name": "Old"}', "--tenant", "acme")
    eventually(lambda: running.json("call", "hello", "written", '{"name": "Old"}', "--tenant", "acme"))
    os.kill(running.process.pid, signal.SIGTERM)
    assert ended(running) == 0
    again = ready(fresh("app:hello", *FREE, folder=running.folder))
    assert again.json("call", "hello", "written", '{"name": "Old"}', "--tenant", "acme") is True
    assert "died" not in again.said, "workers that had stopped in order are no deaths"


def test_a_killed_worker_is_replaced_and_its_service_goes_on(fresh):
    running = ready(fresh("app:hello", "--workers", "2", *FREE))
    [row] = running.json("status", "--json")["rows"]
    assert row["workers"] == 2
    victim, pid = next(iter(running.workers().items()))
    os.kill(pid, signal.SIGKILL)
    assert running.json("call", "hello", "greet", '{"name": "Ada"}', "--tenant", "acme", "--timeout", "5")
    running.says(f"{victim} died (killed by SIGKILL)")
    eventually(lambda: running.json("status", "--json")["rows"][0]["workers"] == 2)


def test_a_killed_server_is_started_again_and_nothing_is_lost(fresh):
    running = ready(fresh("app:hello", *FREE))
    server = next(
        pid
        for pid in children(running.process.pid)
        if b"nats-server" in open(f"/proc/{pid}/cmdline", "rb").read()  # noqa: SIM115, PTH123
    )
    running.run("submit", "hello", "letter", '{"name": "Before"}', "--tenant", "acme")
    os.kill(server, signal.SIGKILL)
    running.says("starting it again")

    def written(name):
        arguments = ("call", "hello", "written", f'{{"name": "{name}"}}', "--tenant", "acme", "--timeout", "3")
        return "true" in running.run(*arguments).stdout

    eventually(lambda: written("Before"))
    assert running.run("submit", "hello", "letter", '{"name": "After"}', "--tenant", "acme").returncode == 0
    eventually(lambda: written("After"))


def test_a_crash_loop_is_reported_and_ctrl_c_ends_it_quickly(fresh, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "app.py").write_text(CRASHING)
    running = fresh("app:hello", *FREE)
    running.says("crash-loop")
    os.kill(running.process.pid, signal.SIGINT)
    began = time.monotonic()
    ended(running)
    assert time.monotonic() - began < 20, "not the start timeout of a minute"


def test_workers_that_never_serve_are_an_error(fresh, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "app.py").write_text(CRASHING)
    running = fresh("app:hello", *FREE, "--start-timeout", "1")
    assert ended(running) == 1
    assert "hello: not serving after 1 s" in running.said


def test_a_service_that_cannot_start_does_not_keep_the_others_from_serving(fresh, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "bad.py").write_text(CRASHING.replace("hello", "bad"))
    running = ready(fresh("app:hello", "bad:bad", *FREE, "--start-timeout", "20"))
    assert "bad: not serving after 20 s; the others go on" in running.said
    assert running.json("call", "hello", "greet", '{"name": "Ada"}', "--tenant", "acme")
    rows = {row["service"]: row for row in running.json("status", "--json")["rows"]}
    assert rows["hello"]["trouble"] is None
    assert rows["bad"]["trouble"]["last_exit"] == "exit code 7"


def test_a_port_in_use_gets_one_clear_line(fresh):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        running = fresh("app:hello", "--port", port, "--websocket-port", "0")
        assert ended(running) == 11
    assert f"{port}" in running.said
    assert "--port 0 finds a free one" in running.said
    assert "Traceback" not in running.said


@pytest.mark.parametrize("option", ["--websocket-port", "--web-port"])
def test_a_port_of_browsers_in_use_is_told_with_the_option_that_takes_another(fresh, option):
    ports = {"--port": "0", "--websocket-port": "0", "--web-port": "0"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports[option] = str(taken.getsockname()[1])
        running = fresh("app:hello", "--console", *(word for pair in ports.items() for word in pair))
        assert ended(running) == 11
    assert f"fix: stop what listens there, or choose another port: {option} 0 finds a free one" in running.said


def test_up_takes_its_directory_from_the_environment_as_all_commands_do(fresh, tmp_path):
    place = tmp_path / "elsewhere"
    running = ready(fresh("app:hello", *FREE, HEADWAY_DIR=str(place)))
    assert (place / "running.json").exists()
    assert not (running.folder / ".headway").exists()
    assert "hello" in running.run("status", HEADWAY_DIR=str(place)).stdout


def test_a_second_instance_on_the_same_data_is_refused(fresh):
    first = ready(fresh("app:hello", *FREE))
    second = start(first.folder.parent / "second", "app:hello", *FREE, "--dir", str(first.folder / ".headway"))
    try:
        assert ended(second) == 11
        assert "Traceback" not in second.said
        assert "another" in second.said
    finally:
        second.end()
    assert first.json("call", "hello", "greet", '{"name": "Ada"}', "--tenant", "acme")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no headway.yaml"),
        ("services:\n  hello:\n    app: app:hello\n    workerz: 1\n", "headway.yaml:4:5: unknown key 'workerz'"),
        ("services:\n  hullo:\n    app: app:hello\n", "is service 'hello', not 'hullo'"),
        ("services:\n  hello:\n    app: app:hello\n    config: {speed: 1}\n", "speed: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_is_started(tmp_path, text, says):
    from tests.support.headway_process import APP

    (tmp_path / "app.py").write_text(APP)
    if text is not None:
        (tmp_path / "headway.yaml").write_text(text)
    done = headway(tmp_path, "up")
    assert done.returncode in (2, 78)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".headway").exists()


OTHER = """
from headway import Service
other = Service("other")

@other.rpc("ping")
async def ping(request: None) -> str:
    return "pong"
"""


def test_an_external_server_is_used_with_the_keys_at_hand_and_others_stay_served(fresh):
    first = ready(fresh("app:hello", *FREE))
    (first.folder / "other.py").write_text(OTHER)
    url = first.json_of("running.json")["url"]
    second = ready(fresh("other:other", folder=first.folder, output="second", HEADWAY_NATS_URL=url))
    assert first.json("call", "other", "ping", "--tenant", "acme") == "pong"
    assert first.json("call", "hello", "greet", '{"name": "Ada"}', "--tenant", "acme")
    os.kill(second.process.pid, signal.SIGINT)
    assert ended(second) == 0
    assert first.json("call", "hello", "greet", '{"name": "Ada"}', "--tenant", "acme"), "the first is still found"


def test_an_external_server_whose_keys_are_elsewhere_is_used_with_the_credentials_given(fresh, tmp_path):
    first = ready(fresh("app:hello", *FREE))
    running = first.json_of("running.json")
    given = {"HEADWAY_NATS_URL": running["url"], "HEADWAY_NATS_CREDS": running["creds"]}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other.py").write_text(OTHER)
    second = ready(fresh("other:other", folder=tmp_path / "elsewhere", **given))
    assert "routes         stay as they are" in second.said
    assert len(second.workers()) == 1, "the scaler beside it runs it, the one of the first has another pool"
    assert {row["service"]: row["workers"] for row in first.json("status", "--json")["rows"]}["other"] == 1


def test_the_demo_loses_nothing_and_ends_with_one_json_object(tmp_path):
    few = ("--faxes", "4", "--calls", "4", "--voicemails", "2", "--burst", "0", "--no-releases")
    done = headway(tmp_path, "demo", "--json", *few)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["lost"] == 0
    assert found["sent"] == 40
    assert found["dead_lettered"] == 4
    assert found["done"] == 36
    assert found["killed_workers"] == 1
    assert found["wrong"] == []


def test_an_interrupted_demo_leaves_no_process(tmp_path):
    import subprocess
    import sys

    from tests.support.headway_process import environment

    process = subprocess.Popen(
        [sys.executable, "-m", "headway", "demo"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        everything = eventually(lambda: found if len(found := children(process.pid)) >= 5 else None)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(40) == 130
        assert not alive(everything)
    finally:
        if process.poll() is None:
            process.kill()
