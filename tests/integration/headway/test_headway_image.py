"""`headway image` and `headway image promote`, run as a user runs them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys

import nats.errors
import orjson
import pytest

from headway import connect
from headway.cli import main
from headway.control.records import RolloutRecord, VersionRecord
from headway.control.store import Control, rollout_key, version_key
from headway.deployer.version import version_of
from headway.images import build as images
from headway.images import image
from headway.place import pool_of
from tests.support.headway_process import APP, PATIENCE, environment

ENVIRONMENTS = """
services: {{hello: {{app: "app:hello"}}}}
environments:
  staging: {{dir: staging, url: "{url}", creds: operator.creds}}
  prod: {{dir: prod}}
  same: {{dir: ./staging}}
"""


def build(folder, version: str) -> str:
    return images.build(folder / "app.py", version=version, data_dir=folder / "staging").digest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def here(folder, monkeypatch, capfd):
    """`here("image", "ls")`: run a command in this process, as quick as it is without the start of one."""
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        place = ("--dir", "staging") if arguments[0] == "image" and arguments[1] != "promote" else ()
        monkeypatch.setattr(sys, "argv", ["headway", *arguments, *place])
        with pytest.raises(SystemExit) as left:
            main()
        return subprocess.CompletedProcess(arguments, int(left.value.code or 0), *capfd.readouterr())

    return run


@pytest.fixture
async def site(folder, here, nats_broker, monkeypatch):
    """A folder, the control records of a server, and how to run commands with it."""
    (folder / "operator.creds").write_text(nats_broker.identities.creds("operator"))
    (folder / "headway.yaml").write_text(ENVIRONMENTS.format(url=nats_broker.url))
    monkeypatch.setenv("HEADWAY_NATS_URL", nats_broker.url)
    monkeypatch.setenv("HEADWAY_NATS_CREDS", str(folder / "operator.creds"))
    async with await nats_broker.connect("operator") as bus:
        yield folder, Control(bus), lambda *arguments: asyncio.to_thread(here, *arguments)


async def declare(control: Control, version: str, digest: str | None, phase: str = "live") -> None:
    record = VersionRecord(service="hello", version=version, app="app:hello", root="", image=digest, phase=phase)
    await control.put(version_key("hello", version), record)


def test_build_list_show_compare_and_verify(folder, here):
    v1 = build(folder, "v1")
    (folder / "app.py").write_text(APP.replace('"greet"', '"welcome"'))
    v2 = build(folder, "v2")
    run = lambda *arguments: here("image", *arguments)

    listed = run("ls").stdout.splitlines()
    assert [line.split()[:3] for line in listed[1:]] == [["hello", "v1", v1[:12]], ["hello", "v2", v2[:12]]]
    assert all(len(line) <= 80 for line in listed)

    shown = run("show", "hello", "v1").stdout
    assert f"digest   {v1}" in shown
    assert "rpc.greet" in shown
    assert json.loads(run("show", v1[:8], "--json").stdout)["schemas"].keys() >= {"job.letter", "on.person.met"}

    compared = run("diff", "hello", "v1", "v2").stdout
    assert [" ".join(line.split()) for line in compared.splitlines()] == [
        "files",
        "~ app.py",
        "handlers",
        "- rpc.greet",
        "+ rpc.welcome",
        "breaks: rpc greet: it is gone",
    ]
    assert run("diff", "hello", "v1", "v1").stdout == "no difference except the label\n"

    assert run("verify").returncode == 0
    source = image.folder(folder / "staging", v2) / "src/app.py"
    source.chmod(0o644)
    source.write_text("spoilt")
    verified = run("verify")
    assert verified.returncode == 11
    assert f"{v1[:12]}  as built, signed  hello v1" in verified.stdout
    assert "app.py was changed" in verified.stderr
    assert run("verify", "hello", "v1").returncode == 0


def test_a_label_is_not_moved(folder, here):
    build(folder, "v1")
    assert here("image", "build", "app.py", "--version", "v2", "--set", "x=1").returncode == 78, "it has no such field"
    (folder / "app.py").write_text(APP + "\n# another line\n")
    moved = here("image", "build", "app.py", "--version", "v1")
    assert moved.returncode == 2
    assert "hello v1 is another image" in moved.stderr
    assert "fix: build it as the next version" in moved.stderr


def test_headway_up_runs_a_version_from_its_image_whatever_becomes_of_the_working_tree(up):
    built = json.loads(up.run("image", "build", "app.py", "--version", "v2", "--json").stdout)
    data = up.folder / ".headway"
    (up.folder / "app.py").write_text("raise RuntimeError('this is not the image')\n")
    record = version_of(data, "hello", "v2", pool=pool_of(data)).model_copy(update={"minimum": 1})

    async def declare_and_ask() -> str:
        running = up.json_of("running.json")
        async with await connect(running["url"], creds=running["creds"]) as bus:
            await Control(bus).put(version_key("hello", "v2"), record)
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        answer = await bus.nc.request("rpc.hello.v2.acme.greet", b'{"name": "Ada"}', timeout=5)
                        return orjson.loads(answer.data)
                    except nats.errors.NoRespondersError:
                        await asyncio.sleep(0.05)

    assert asyncio.run(declare_and_ask()) == "Hello Ada of acme"
    assert image.verify(image.folder(data, built["digest"]), built["digest"])

    assert "is in use: hello v2 is live" in up.run("image", "rm", "hello", "v2").stderr


def worker(up, root, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one worker of an image for a moment: until it has drained, or was refused."""
    running = up.json_of("running.json")
    program = [sys.executable, "-m", "headway", "worker", "--image", str(root), *arguments]
    process = subprocess.Popen(
        program,
        env=environment(HEADWAY_NATS_URL=running["url"], HEADWAY_NATS_CREDS=running["creds"]),
        cwd=up.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if " serves as " in line:
            process.send_signal(signal.SIGTERM)
    return subprocess.CompletedProcess(program, process.wait(PATIENCE), "".join(lines))


def test_a_worker_of_its_own_runs_from_an_image_too_and_verifies_it(up, folder):
    digest = build(folder, "v7")
    root = image.folder(folder / "staging", digest)
    ran = worker(up, root)
    assert "hello v7 serves as" in ran.stdout
    assert ran.returncode == 0
    assert "leave out --version" in worker(up, root, "--version", "v8").stdout
    (root / "src").chmod(0o755)
    (root / "src/more.py").write_text("")
    refused = worker(up, root)
    assert refused.returncode == 11
    assert "more.py was added" in refused.stdout


async def test_an_image_in_use_is_not_removed_not_even_by_force(site):
    folder, control, run = site
    v1, v2, v3 = build(folder, "v1"), build(folder, "v2"), build(folder, "v3")
    await declare(control, "v1", v1)
    await declare(control, "v2", v2, "retired")
    remove = lambda *arguments: run("image", "rm", *arguments)
    for force in ((), ("--force",)):
        refused = await remove("hello", "v1", *force)
        assert refused.returncode == 2
        assert f"{v1[:12]} is in use: hello v1 is live" in refused.stderr
    standby = RolloutRecord(service="hello", version="v3", before="v2", phase="standby")
    await control.put(rollout_key("hello"), standby)
    for version in ("v2", "v3"):
        refused = await remove("hello", version)
        assert f"the rollout of hello v3 (in phase standby) may need {version}" in refused.stderr
    await control.put(rollout_key("hello"), standby.model_copy(update={"phase": "done"}))
    assert (await remove("hello", "v2")).stdout == f"removed {v2[:12]}\n"
    assert image.digests(folder / "staging") == sorted([v1, v3])


def test_without_a_server_nothing_is_removed_but_by_force(folder, here):
    digest = build(folder, "v1")
    refused = here("image", "rm", "hello", "v1")
    assert refused.returncode == 2
    assert f"cannot find out whether {digest[:12]} is in use" in refused.stderr
    unreachable = ("--url", "nats://127.0.0.1:1")
    assert here("image", "rm", "hello", "v1", *unreachable).returncode == 2
    assert here("image", "rm", "hello", "v1", *unreachable, "--force").returncode == 0
    assert here("image", "ls").stdout == "no images\n"


async def test_a_proven_image_is_promoted_as_it_is_and_any_other_is_refused(site):
    folder, control, run = site
    v2 = build(folder, "v2")
    promote = lambda *arguments: run("image", "promote", "hello", "v2", "--from", "staging", "--to", "prod", *arguments)

    assert "hello v2 is not proven: it was never rolled out" in (await promote()).stderr
    await declare(control, "v2", v2)
    rollout = RolloutRecord(service="hello", version="v2", before="v1", phase="judge")
    await control.put(rollout_key("hello"), rollout)
    refused = await promote()
    assert refused.returncode == 2
    assert "its rollout is in phase judge" in refused.stderr
    assert image.digests(folder / "prod") == []

    await control.put(rollout_key("hello"), rollout.model_copy(update={"phase": "done"}))
    assert json.loads((await promote("--json")).stdout) == {
        "service": "hello",
        "version": "v2",
        "digest": v2,
        "from": "staging",
        "to": "prod",
    }
    assert image.verify(image.folder(folder / "prod", v2), v2).version == "v2"
    assert image.resolve(folder / "prod", "hello", "v2") == v2
    assert f"promoted: hello v2  sha256:{v2}" in (await promote()).stdout, "repeating it changes nothing"

    source = image.folder(folder / "staging", v2) / "src/app.py"
    source.chmod(0o644)
    source.write_text("spoilt")
    assert "app.py was changed" in (await promote()).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "staging", "--to", "production"), "declares no environment 'production'"),
        (("--to", "prod"), "from which environment?"),
        (("--from", "same", "--to", "staging"), "same and staging are the same environment"),
        (("--from", "prod", "--to", "staging"), "`headway up` does not run here (no prod/running.json)"),
    ],
)
def test_environments_that_cannot_be_meant_are_refused(folder, here, arguments, message):
    (folder / "headway.yaml").write_text(ENVIRONMENTS.format(url="nats://127.0.0.1:1"))
    refused = here("image", "promote", "hello", "v2", *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr
