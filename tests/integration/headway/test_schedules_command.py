"""Jobs for later and periodic jobs from the command line, with `headway up`."""

from __future__ import annotations

import time

import pytest

from tests.support.headway_process import FREE

APP = """
from pathlib import Path

from headway import Context, Service, Tick

clock = Service("clock")


@clock.cron("0 3 1 1 *", tz="Europe/Berlin")
async def yearly(tick: Tick, ctx: Context) -> None:
    with Path("ran.txt").open("a") as told:
        told.write(f"yearly {tick.manual} {ctx.tenant}\\n")


@clock.every(1)
async def often(tick: Tick) -> None:
    with Path("ran.txt").open("a") as told:
        told.write("often\\n")


@clock.job("wake")
async def wake(request: int, ctx: Context) -> None:
    with Path("ran.txt").open("a") as told:
        told.write(f"wake {request} {ctx.tenant}\\n")
"""


@pytest.fixture
def site(fresh, tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "clock.py").write_text(APP)
    running = fresh("clock:clock", *FREE, folder=folder)
    running.says("ready:")
    return running


def test_jobs_for_later_and_periodic_jobs_run_are_listed_and_obey_the_command_line(site, eventually):
    def ran() -> list[str]:
        told = site.folder / "ran.txt"
        return told.read_text().splitlines() if told.exists() else []

    done = site.run("submit", "clock", "wake", "7", "--tenant", "acme", "--delay", "1d")
    assert "stored in LATER" in done.stdout, done.stderr
    assert site.json("status", "--json")["later"] == {"clock": 1}
    done = site.run("submit", "clock", "wake", "8", "--tenant", "acme", "--delay", "100ms")
    assert done.returncode == 0, done.stderr
    eventually(lambda: "wake 8 acme" in ran())
    eventually(lambda: "often" in ran())

    listed = {one["name"]: one for one in site.json("schedules", "ls", "--json")}
    assert listed["yearly"]["when"] == "0 3 1 1 * Europe/Berlin"
    assert listed["yearly"]["next"].endswith("-01-01T02:00:00Z")
    assert "every 1 s" in site.run("schedules", "ls").stdout
    assert "stored in JOBS_clock" in site.run("schedules", "run", "clock", "yearly").stdout
    eventually(lambda: "yearly True headway" in ran())

    done = site.run("schedules", "pause", "clock", "often")
    assert done.stdout == "clock often is paused\n", done.stderr
    assert {one["name"]: one["next"] for one in site.json("schedules", "ls", "--json")}["often"] == "paused"
    eventually(lambda: _still(ran))
    assert site.run("schedules", "resume", "clock", "often").returncode == 0
    before = len(ran())
    eventually(lambda: len(ran()) > before)

    refused = site.run("schedules", "run", "clock", "never")
    assert refused.returncode == 10
    assert "headway schedules ls" in refused.stderr
    assert "wake 7 acme" not in ran()


def _still(ran) -> bool:
    """Whether nothing runs for two and a half seconds."""
    before = len(ran())
    time.sleep(2.5)
    return len(ran()) == before
