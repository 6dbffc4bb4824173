"""What the command decides without a server: exit codes, where the server is, restarts, log lines, the status table."""

import io
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from headway import cli, endpoint, exits
from headway.bus import errors
from headway.bus.client.connection import DEFAULT_URL
from headway.bus.client.dead import DeadLetter
from headway.bus.wire.beat import Beat
from headway.commands.dead.ls import lines
from headway.commands.status import render
from headway.control.records import ScaleRecord
from headway.format import milliseconds, short, visible
from headway.loglines import readable
from headway.place import pool_of
from headway.scaler.restarts import delay as restart_delay
from headway.status import JobQueue, summarise


def beat(worker="w1", service="fax", version="v1", **changed):
    base = {
        "service": service,
        "version": version,
        "worker": worker,
        "host": "h",
        "pid": 1,
        "started": 0,
        "at": 1,
        "state": "serving",
        "rpc_inflight": 0,
        "in_hand": 2,
        "oldest_s": 1.5,
        "processed": 10,
        "failed": 1,
        "rejected": 0,
        "retried": 1,
        "dead": 0,
        "shed": 0,
        "latency": {"rpc": [0] * 43, "job": [10, *[0] * 42]},
        "cpu_s": 1,
        "rss_bytes": 40_000_000,
        "loop_lag_s": 0,
        "healthy": True,
    }
    return Beat(**{**base, **changed})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidSubject("x"), 2),
        (errors.ConfigError("x"), 78),
        (errors.ConnectionFailed("x"), 3),
        (errors.NotServed("x"), 4),
        (errors.QueueFull("x"), 10),
        (errors.BrokerError("x"), 11),
        (ValueError("x"), 1),
    ],
)
def test_an_error_has_the_exit_code_of_the_nearest_class_that_has_one(error, code):
    assert exits.code_of(error) == code


def test_an_error_inside_groups_is_found():
    error = errors.QueueFull("full")
    assert exits.telling(ExceptionGroup("a", [ValueError(), ExceptionGroup("b", [error])])) is error
    assert exits.telling(error) is error


def test_a_group_without_an_explained_error_is_reported_by_its_first_one(monkeypatch, capsys):
    monkeypatch.delenv("HEADWAY_DEBUG", raising=False)

    def fail(**_):
        raise ExceptionGroup("a", [ExceptionGroup("b", [TimeoutError()]), ValueError("x")])

    monkeypatch.setattr(cli.headway, "main", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[0] == "error: unexpected TimeoutError"


def test_the_server_is_what_options_say_then_the_environment_then_what_runs_here(tmp_path, monkeypatch):
    monkeypatch.delenv("HEADWAY_NATS_URL", raising=False)
    monkeypatch.delenv("HEADWAY_NATS_CREDS", raising=False)
    assert endpoint.find(None, None, tmp_path).url == DEFAULT_URL
    running = endpoint.Running(url="nats://127.0.0.1:1", ws_url=None, pid=os.getpid(), creds="op.creds")
    (tmp_path / endpoint.RUNNING_FILE).write_text(running.model_dump_json())
    assert endpoint.find(None, None, tmp_path) == endpoint.ServerAccess("nats://127.0.0.1:1", "op.creds", running)
    monkeypatch.setenv("HEADWAY_NATS_URL", "nats://env:1")
    assert endpoint.find(None, None, tmp_path).url == "nats://env:1"
    assert endpoint.find("nats://option:1", "c", tmp_path) == endpoint.ServerAccess("nats://option:1", "c")


def test_what_a_dead_installation_left_is_not_believed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    running = endpoint.Running(url="nats://127.0.0.1:1", ws_url=None, pid=ended.pid, creds="op.creds")
    (tmp_path / endpoint.RUNNING_FILE).write_text(running.model_dump_json())
    assert endpoint.read_running(tmp_path) is None


def test_the_server_named_by_the_environment_is_still_known_to_be_the_one_that_runs_here(tmp_path, monkeypatch):
    running = endpoint.Running(url="nats://here:1", ws_url=None, pid=os.getpid(), creds="op", web_url="http://here:9")
    (tmp_path / endpoint.RUNNING_FILE).write_text(running.model_dump_json())
    monkeypatch.setenv("HEADWAY_NATS_URL", "nats://here:1")  # as `eval "$(headway env)"` sets it
    assert endpoint.find(None, None, tmp_path).running == running
    assert endpoint.pages_url(None, tmp_path) == "http://here:9"
    monkeypatch.setenv("HEADWAY_NATS_URL", "nats://elsewhere:1")
    assert endpoint.find(None, None, tmp_path).running is None


def test_where_the_pages_are_is_what_serves_them_and_never_guessed(tmp_path):
    with pytest.raises(errors.UsageError, match="nothing serves pages"):
        endpoint.pages_url(None, tmp_path)
    with endpoint.announced(tmp_path, "http://127.0.0.1:8999"):
        assert endpoint.pages_url(None, tmp_path) == "http://127.0.0.1:8999"
        assert endpoint.pages_url("http://named:1", tmp_path) == "http://named:1"
    assert not (tmp_path / endpoint.WEB_FILE).exists()
    with endpoint.announced(tmp_path / "nowhere", "http://x"):
        pass


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, ".headway"),
        ("services: {}", ".headway"),
        ("server:\n  store: data", "data"),
        ("server: {store: [", ".headway"),
        ("store: data", ".headway"),
    ],
)
def test_the_data_directory_is_that_of_the_file_in_this_folder(tmp_path, monkeypatch, text, found):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "headway.yaml").write_text(text)
    assert str(endpoint.default_directory()) == found


def test_the_pool_is_that_of_the_data_directory_unless_it_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("HEADWAY_POOL", raising=False)
    assert pool_of(tmp_path / "a") == pool_of(tmp_path / "a") != pool_of(tmp_path / "b")
    monkeypatch.setenv("HEADWAY_POOL", "services")
    assert pool_of(tmp_path / "a") == pool_of(tmp_path / "b") == "services"
    monkeypatch.setenv("HEADWAY_POOL", "No Pool")
    with pytest.raises(errors.InvalidSubject):
        pool_of(tmp_path)


@given(st.integers(1, 1000))
def test_a_worker_is_replaced_at_once_and_a_crash_loop_waits_longer_each_time(deaths):
    assert restart_delay(1) == 0
    assert 0 <= restart_delay(deaths) <= restart_delay(deaths + 1) <= 30


def test_a_workers_log_line_becomes_text_and_other_output_stays():
    line = '{"at":"x","level":"warning","message":"hm","service":"fax","tenant":"acme"}'
    assert readable(line) == "warning: hm  tenant=acme"
    assert readable("plain output") == "plain output"
    assert readable('{"not": "a log line"}') == '{"not": "a log line"}'


def test_workers_of_a_version_are_added_up():
    status = summarise(
        "nats://x",
        [beat("w1"), beat("w2", healthy=False, oldest_s=9, in_hand=0, rpc_inflight=3), beat("w3", state="stopped")],
        {("fax", "v1"): JobQueue(waiting=7, in_hand=2)},
        {"fax": {"v1": 95, "v2": 5}},
        {"fax": 1},
    )
    v1, v2 = status.rows
    assert (v1.workers, v1.unhealthy, v1.waiting, v1.in_hand, v1.oldest_s, v1.weight) == (2, 1, 7, 5, 9, 95)
    assert v1.p50_ms is not None
    assert v1.p50_ms <= 0.1
    assert (v2.workers, v2.weight, v2.waiting) == (0, 5, None), "a version that gets traffic and has no worker is shown"


def test_the_table_fits_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    big = [beat(f"w{n}", processed=9_999_999, failed=12_345, in_hand=999, oldest_s=100) for n in range(9)]
    queues = {("fax", "v1"): JobQueue(waiting=60_000)}
    console.print(render(summarise("nats://127.0.0.1:4222", big, queues, {"fax": {"v1": 100}}, {"fax": 3})))
    text = console.export_text()
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    assert "60.0k" in text
    assert "90.0M" in text
    assert "…" not in text


def test_jobs_for_later_are_counted_apart_from_those_that_wait():
    status = summarise("nats://x", [beat("w1")], {("fax", "v1"): JobQueue(waiting=7)}, None, {}, later={"fax": 3})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render(status))
    assert "jobs for later: fax 3" in console.export_text()
    assert [row.waiting for row in status.rows] == [7]


def test_a_crash_loop_is_shown_with_its_cause_within_80_columns():
    record = ScaleRecord(
        service="fax",
        version="v1",
        desired=3,
        health="crash-loop",
        deaths=6,
        last_exit="exit code 7",
        stderr=("Traceback ...", "RuntimeError: no line to the telephone company"),
        retry_at=time.time() + 9.6,
    )
    status = summarise("nats://x", [beat("w1")], {}, {"fax": {"v1": 100}}, {}, {("fax", "v1"): record})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render(status))
    text = console.export_text()
    assert "1/3" in text
    assert "fax v1 crash-loop: 6 deaths in a minute, the next one starts in" in text
    assert "exit code 7" in text
    assert "no line to the telephone company" in text
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())


@given(st.integers(0, 10**9))
def test_counts_stay_short(number):
    assert len(short(number)) <= 7


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.42, "0.4ms"), (120.4, "120ms"), (3200, "3.2s")])
def test_latencies_stay_readable(value, text):
    assert milliseconds(value) == text


def test_text_of_others_cannot_control_the_terminal():
    assert visible("plain, ümlaut, 日本") == "plain, ümlaut, 日本"
    assert visible("a\x1b[2Jb\x07\x9b\u202e\u2028") == "a\\x1b[2Jb\\x07\\x9b\\u202e\\u2028"
    assert visible("one\ntwo\t3\r") == "one\\ntwo\\t3\\r"
    assert visible("one\ntwo\t3\r", lines=True) == "one\ntwo\t3\\r"


def test_the_list_of_dead_letters_shows_no_control_characters():
    letter = DeadLetter(
        *(1, "fax", "acme", "send", "error", "\x1b[2Jgone\x9b", 1, "\x07", "job.fax", "JOBS_fax", 1),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        payload=b"",
        headers={},
    )
    shown = "".join(lines(letter, 100))
    assert shown.isprintable()
    assert "\\x1b[2Jgone\\x9b" in shown
