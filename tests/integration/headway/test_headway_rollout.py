"""Releases as a user makes them: `headway up`, images, real worker processes, a deployer, and the commands."""

from __future__ import annotations

import asyncio
import json
import subprocess

import pytest

from headway import connect
from headway.bus.errors import CallError
from tests.support.headway_process import FREE, start

APP = """
import random
from headway import Context, Service
from pydantic import BaseModel


class Config(BaseModel):
    fails: float = 0.0


hello = Service("hello", config=Config, ack_wait=2)


class Person(BaseModel):
    name: str


@hello.rpc("greet")
async def greet(person: Person, ctx: Context) -> str:
    if random.random() < ctx.config(Config).fails:
        raise RuntimeError("frozen to fail")
    return ctx.version


@hello.job("letter")
async def letter(person: Person, ctx: Context) -> None:
    await ctx.objects.put("letter", person.name, {"by": ctx.version})
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """`headway up` with hello v1 from the working tree, images v2 and a bad v3."""
    folder = tmp_path_factory.mktemp("rollout") / "site"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    running = start(folder, "app:hello", *FREE)
    try:
        running.says("ready:")
        for version, config in (("v2", ()), ("v3", ("--set", "fails=0.3"))):
            built = running.run("image", "build", "app.py", "--version", version, *config)
            assert built.returncode == 0, built.stderr
        yield running
    finally:
        print("\n".join(line for line in running.said.splitlines() if line.startswith("deployer")))
        running.end()


async def under_load(site, *command: str) -> tuple[subprocess.CompletedProcess[str], int, list[str]]:
    """Run a command under calls; returns what it did, how many calls were answered, and what failed."""
    running = site.json_of("running.json")
    answered, failed = 0, []
    done = asyncio.Event()
    async with await connect(running["url"], creds=running["creds"]) as bus:

        async def call() -> None:
            nonlocal answered
            while not done.is_set():
                try:
                    await bus.call("hello", "greet", {"name": "Ada"}, tenant="acme", timeout=10)
                    answered += 1
                except CallError as error:
                    failed.append(str(error))
                await asyncio.sleep(0.005)

        calls = [asyncio.ensure_future(call()) for _ in range(4)]
        try:
            return await asyncio.to_thread(site.run, *command), answered, failed
        finally:
            done.set()
            await asyncio.gather(*calls)


async def test_a_release_from_an_image_to_all_traffic_and_back(site):
    ran, _, failed = await under_load(
        site, "deploy", "hello", "v2", "--steps", "30,100", "--bake", "1s", "--window", "1h", "--manual", "--json"
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["version"] == "v2"
    refused, _, lost = await under_load(site, "deploy", "hello", "v3")
    assert refused.returncode == 1
    assert "a rollout of hello v2 is under way" in refused.stderr
    assert "headway rollout abort hello" in refused.stderr
    failed += lost
    promoted = 0
    for _ in range(60):
        ran, _, lost = await under_load(site, "rollout", "history", "hello", "--json")
        failed += lost
        record = json.loads(ran.stdout)
        if record["phase"] == "standby":
            break
        if record["step"] == promoted and "headway rollout promote" in record["note"]:
            _, _, lost = await under_load(site, "rollout", "promote", "hello")
            failed += lost
            promoted += 1
    assert promoted == 2
    assert not failed
    history = site.run("rollout", "history", "hello").stdout
    assert "warm-up" in history
    assert all(len(line) <= 80 for line in history.splitlines())
    assert site.json("call", "hello", "greet", '{"name": "Ada"}', "--tenant", "acme") == "v2"
    back, _, failed = await under_load(site, "rollout", "undo", "hello", "--wait")
    assert back.returncode == 0, back.stderr
    assert not failed
    assert site.json("call", "hello", "greet", '{"name": "Ada"}', "--tenant", "acme") == "v1"
    over = site.run("rollout", "promote", "hello")
    assert over.returncode != 0
    assert "no rollout of hello is under way" in over.stderr


async def test_a_version_that_fails_is_taken_back_by_the_judge(site):
    ran, _, failed = await under_load(
        site, "rollout", "start", "hello", "v3", "--steps", "50,100", "--bake", "1h", "--wait", "--json"
    )
    assert ran.returncode == 1, ran.stdout
    record = json.loads(ran.stdout)
    assert record["phase"] == "rolled-back"
    assert "failed at v3" in record["abort"]
    assert failed
    assert site.json("call", "hello", "greet", '{"name": "Ada"}', "--tenant", "acme") == "v1"
    over = site.run("rollout", "promote", "hello")
    assert over.returncode != 0
    assert "no rollout of hello is under way" in over.stderr
    watched = site.run("rollout", "watch", "hello")
    assert watched.returncode == 1
    assert "rolled back" in watched.stdout


def test_what_is_asked_wrongly_is_refused_with_what_to_do(site):
    for arguments, said in (
        (("deploy", "hello", "v2", "--steps", "50,20,100"), "write ascending percentages up to 100"),
        (("deploy", "hello", "v2", "--bake", "soon"), "'soon' is not a duration"),
        (("deploy", "hello", "v2", "--check", "ping"), "is not a check"),
        (("deploy", "hello", "v9"), "v9"),
        (("rollout", "history", "nobody"), "was never rolled out"),
    ):
        ran = site.run(*arguments)
        assert ran.returncode != 0
        assert said in ran.stderr, (arguments, ran.stderr)
        assert "Traceback" not in ran.stderr
