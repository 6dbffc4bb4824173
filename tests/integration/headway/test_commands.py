"""Each command, run as a user runs it, against a running installation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.headway_process import environment, headway

PERSON = '{"name": "Ada"}'


def test_a_call_prints_the_reply_as_json(up):
    assert up.json("call", "hello", "greet", PERSON, "--tenant", "acme") == "Hello Ada of acme"


def test_a_payload_comes_from_a_file_or_standard_input(up):
    (up.folder / "person.json").write_text('{"name": "File"}')
    assert "File" in up.json("call", "hello", "greet", "@person.json", "--tenant", "acme")
    assert "Pipe" in up.run("call", "hello", "greet", "-", "--tenant", "acme", stdin='{"name": "Pipe"}').stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("call", "hello", "greet", '{"name": "Nobody"}', "--tenant", "acme"), 6, "there is nobody to greet"),
        (("call", "hello", "greet", '{"nam": 1}', "--tenant", "acme"), 5, "name: Field required"),
        (("call", "hello", "greet", '{"name": "Trouble"}', "--tenant", "acme"), 9, "error id"),
        (("call", "hello", "fly", "null", "--tenant", "acme"), 4, "nobody serves rpc.hello.acme.fly"),
        (("call", "nowhere", "greet", PERSON, "--tenant", "acme"), 4, "nobody serves"),
        (("call", "hello", "greet", PERSON, "--tenant", "Acme!"), 2, "'Acme!' is not a valid tenant"),
        (("call", "hello", "greet", "{", "--tenant", "acme"), 2, "is not JSON"),
        (("call", "hello", "greet", "@nothing.json", "--tenant", "acme"), 2, "cannot read nothing.json"),
        (("submit", "nowhere", "work", "null", "--tenant", "acme", "--timeout", "0.3"), 4, "nobody serves"),
        (("dead", "show", "999"), 10, "there is no dead letter 999"),
        (("docs", "app:goodbye"), 2, "its services are: hello"),
        (("docs", "nothing:x"), 2, "there is no module nothing"),
    ],
)
def test_an_error_is_one_line_with_a_remedy_and_an_exit_code(up, arguments, code, says):
    done = up.run(*arguments)
    assert done.returncode == code, done.stderr
    error, *fix = done.stderr.strip().splitlines()
    assert error.startswith("error: ")
    assert says in done.stderr
    assert not fix or (len(fix) == 1 and fix[0].startswith("fix: "))
    assert "secret" not in done.stderr


def test_a_fault_of_ours_is_one_line_too_and_the_traceback_is_there_for_who_asks(tmp_path):
    (tmp_path / "broken.py").write_text("raise KeyError('oops')")
    done = headway(tmp_path, "docs", "broken:x")
    assert done.returncode == 1
    assert done.stderr.startswith("error: unexpected KeyError: 'oops'\nfix: HEADWAY_DEBUG=1")
    assert "Traceback" in headway(tmp_path, "docs", "broken:x", HEADWAY_DEBUG="1").stderr


def test_help_is_quick_because_it_imports_neither_the_bus_nor_what_only_some_commands_need(tmp_path):
    script = (
        "import sys, headway.cli\nsys.argv = ['headway', '--help']\n"
        "try: headway.cli.main()\nexcept SystemExit: pass\n"
        "assert not {'nats', 'pydantic', 'rich', 'yaml', 'asyncio'} & set(sys.modules), sorted(sys.modules)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout


def test_without_a_server_the_error_says_what_to_check(tmp_path):
    done = headway(tmp_path, "call", "hello", "greet", "--tenant", "acme", "--url", "nats://127.0.0.1:1")
    assert done.returncode == 3
    assert "no connection to nats://127.0.0.1:1" in done.stderr
    assert "headway status" in done.stderr


def test_a_job_is_stored_and_done_and_the_same_key_is_stored_once(up, eventually):
    arguments = ("submit", "hello", "letter", '{"name": "Key"}', "--tenant", "acme", "--key", "k1")
    assert "stored in JOBS_hello as" in up.run(*arguments).stdout
    assert "stored earlier with the same key" in up.run(*arguments).stdout
    eventually(lambda: up.json("call", "hello", "written", '{"name": "Key"}', "--tenant", "acme"))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("submit", "hello", "leter", PERSON), 4, "hello has no job 'leter', did you mean 'letter'?"),
        (("submit", "hello", "greet", PERSON), 4, "headway call hello greet"),
        (("submit", "hello", "letter", '{"nam": "Ada"}'), 5, "name: Field required, is it 'nam'?"),
        (("submit", "helo", "letter", PERSON, "--timeout", "0.3"), 4, "did you mean 'hello'?"),
        (("call", "helo", "greet", PERSON), 4, "nobody serves rpc.helo.initech.greet, did you mean 'hello'?"),
        (("call", "hello", "gret", PERSON), 4, "did you mean 'greet'?"),
        (("call", "hello", "letter", PERSON), 4, "headway submit hello letter"),
        (("call", "hello", "greet", '{"nam": "Ada"}'), 5, "fix: name: Field required, is it 'nam'?"),
        (("emit", "person.mett", PERSON), 4, "no service subscribes to 'person.mett', did you mean 'person.met'?"),
        (("emit", "person.met", "{}"), 5, "name: Field required"),
    ],
)
def test_what_no_version_takes_is_refused_before_it_is_stored_and_the_nearest_name_is_said(up, arguments, code, says):
    before = up.run("dead", "ls", "--json").stdout
    done = up.run(*arguments, "--tenant", "initech")
    assert says in done.stderr
    assert done.returncode == code
    assert done.stdout == ""
    assert up.run("dead", "ls", "--json").stdout == before


def test_no_check_stores_it_for_a_version_that_is_deployed_later(up, eventually):
    done = up.run("submit", "hello", "postcard", PERSON, "--tenant", "later", "--no-check")
    assert "stored in JOBS_hello" in done.stdout
    eventually(lambda: "unknown" in up.run("dead", "ls", "--tenant", "later").stdout)
    shown = up.run("dead", "ls", "--tenant", "later").stdout
    assert all(len(line) <= 80 for line in shown.splitlines()), shown
    assert "deleted 1 dead letter" in up.run("dead", "purge", "--tenant", "later", "--yes").stdout


def test_an_event_that_nobody_subscribes_to_is_stored_and_told(up):
    done = up.run("emit", "weather.changed", "{}", "--tenant", "acme")
    assert "stored in EVENTS" in done.stdout
    assert "no running worker subscribes to weather.changed" in done.stderr


def test_the_tenant_is_that_of_the_environment_unless_it_is_named(up):
    assert "of globex" in up.run("call", "hello", "greet", PERSON, HEADWAY_TENANT="globex").stdout
    assert "of acme" in up.run("call", "hello", "greet", PERSON, "--tenant", "acme", HEADWAY_TENANT="globex").stdout
    missing = up.run("call", "hello", "greet", PERSON)
    assert missing.returncode == 2
    assert "HEADWAY_TENANT" in up.run("call", "--help").stdout


def test_status_without_a_server_does_not_advise_itself(tmp_path):
    done = headway(tmp_path, "status", "--url", "nats://127.0.0.1:1")
    assert done.returncode == 3
    assert "`headway status`" not in done.stderr
    assert "headway up" in done.stderr


def test_an_event_reaches_the_service(up, eventually):
    assert "stored in EVENTS" in up.run("emit", "person.met", '{"name": "Eve"}', "--tenant", "acme").stdout
    eventually(lambda: up.json("call", "hello", "met", '{"name": "Eve"}', "--tenant", "acme"))


def test_a_dead_letter_is_listed_shown_replayed_and_purged(up, eventually):
    up.run("submit", "hello", "letter", '{"name": "Nobody"}', "--tenant", "globex")
    listing = eventually(
        lambda: [json.loads(line) for line in up.run("dead", "ls", "--tenant", "globex", "--json").stdout.splitlines()]
    )
    seq = str(listing[0]["seq"])
    assert listing[0]["cause"] == "rejected"
    assert "rejected" in up.run("dead", "ls").stdout
    assert "no dead letters" in up.run("dead", "ls", "--tenant", "acme").stdout
    shown = up.run("dead", "show", seq).stdout
    assert '"name": "Nobody"' in shown
    assert "there is nobody to write to" in shown
    assert f"replayed {seq}" in up.run("dead", "replay", seq).stdout
    again = eventually(
        lambda: [
            line
            for line in up.run("dead", "ls", "--tenant", "globex", "--json").stdout.splitlines()
            if json.loads(line)["seq"] != int(seq)
        ]
    )
    assert len(again) == 1, "it came back, and failed again"
    assert up.run("dead", "purge", "--tenant", "globex", stdin="n\n").returncode != 0
    assert "deleted 1" in up.run("dead", "purge", "--tenant", "globex", "--yes").stdout
    assert "no dead letters" in up.run("dead", "ls", "--tenant", "globex").stdout


def test_status_is_a_table_of_80_columns_and_one_json_object(up):
    table = up.run("status").stdout
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "hello" in table
    [row] = up.json("status", "--json")["rows"]
    assert (row["service"], row["version"], row["weight"], row["workers"]) == ("hello", "v1", 100, 2)


def test_docs_are_written_to_a_file_or_to_standard_output(up):
    assert up.json("docs", "app:hello")["asyncapi"] == "3.0.0"
    assert up.run("docs", "app:hello", "-o", "hello.json").returncode == 0
    assert json.loads((up.folder / "hello.json").read_text())["info"]["title"] == "hello"


@pytest.fixture(scope="module")
def nats(up, missing):
    """The real `nats` CLI after `eval "$(headway env)"`, in a shell."""
    folders = [os.environ["PATH"], str(Path("~/go/bin").expanduser())]
    program = shutil.which("nats", path=os.pathsep.join(folders))
    if program is None:
        missing("the nats CLI is not installed: go install github.com/nats-io/natscli/nats@latest")
    exports = up.run("env").stdout

    def run(arguments: str) -> str:
        script = f'{exports}\n"{program}" {arguments}'
        env = {"HOME": str(up.folder), "PATH": os.environ["PATH"]}
        done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


def test_the_nats_cli_just_works_after_headway_env(nats, up, eventually):
    assert "Hello Cli of acme" in nats("""req rpc.hello.acme.greet '{"name": "Cli"}'""")
    assert '"stream":"JOBS_hello"' in nats("""req job.hello.acme.letter '{"name": "Req"}'""").replace(" ", "")
    nats("""pub job.hello.acme.letter '{"name": "Pub"}'""")
    for name in ("Req", "Pub"):
        eventually(lambda name=name: up.json("call", "hello", "written", f'{{"name": "{name}"}}', "--tenant", "acme"))
    assert "hello" in nats("micro ls")
    assert "rpc.hello.v1.*.greet" in nats("micro info hello")
    assert "greet" in nats("micro stats hello")
    assert "JOBS_hello" in nats("stream ls")
    assert "rejected" in nats("""req rpc.hello.acme.greet '{"name": "Nobody"}'""")


def test_env_says_clearly_if_nothing_runs_here(tmp_path):
    done = headway(tmp_path, "env")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "does not run here" in done.stderr


def test_tenants_are_shown_as_a_table_and_as_json(up):
    found = up.json("tenants", "--json")
    assert found["url"].startswith("nats://127.0.0.1:")
    assert all({"tenant", "queued", "busy_s", "weight", "share", "sidelined"} <= row.keys() for row in found["rows"])
    shown = up.run("tenants").stdout
    assert "TENANT" in shown or "no tenant has jobs" in shown
