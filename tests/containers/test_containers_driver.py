"""The Docker driver: the contract of all drivers, and what is its own."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from dataclasses import replace

import pytest

from headway.broker.broker import Broker
from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError
from headway.images import build, docker, image
from headway.scaler.drivers.docker.driver import DockerDriver
from headway.scaler.drivers.driver import Launch, RunningWorker
from headway.scaler.errors import LaunchFailed
from tests.support.containers_stack import ROOT
from tests.support.driver_contract import SOURCE, DriverContract, Place, ended, launch_of

pytestmark = pytest.mark.timeout(600)  # the first test builds the image


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class DockerPlace(Place):
    """A pool of its own."""

    def __init__(self, bus: Bus, launch: Launch, pool: str, image: str) -> None:
        super().__init__(bus, launch)
        self.pool = pool
        self.image = image
        self.opened: list[DockerDriver] = []

    def driver(self) -> DockerDriver:
        self.opened.append(DockerDriver(self.pool, network="host", image=self.image))
        return self.opened[-1]

    async def kill(self, running: RunningWorker) -> None:
        await asyncio.to_thread(_docker, "kill", f"headway-{self.pool}-{running.worker}")

    def containers(self) -> list[str]:
        return _docker("ps", "--all", "--quiet", "--filter", f"label=headway.pool={self.pool}").split()


@pytest.fixture
async def place(nats_broker, tmp_path, image):
    """A launch, and drivers of one pool; nothing is left of it afterwards."""
    name = await asyncio.to_thread(image, "worker")
    async with await nats_broker.connect("operator") as bus:
        pool = f"test-{secrets.token_hex(3)}"
        made = DockerPlace(bus, await launch_of(nats_broker, tmp_path), pool, name)
        yield made
        for one in made.opened:
            await one.close()
    if left := made.containers():
        _docker("rm", "--force", "--volumes", *left)
    if volumes := _docker("volume", "ls", "--quiet", "--filter", f"label=headway.epoch={made.pool}").split():
        _docker("volume", "rm", *volumes)


class TestDockerDriver(DriverContract):
    """The contract, kept by containers."""


async def test_a_worker_may_do_no_more_than_it_needs_and_shows_no_secret(place):
    driver = place.driver()
    await driver.spawn(place.launch, "w1", fence=1)
    await place.serves("w1")
    about = json.loads(_docker("inspect", f"headway-{place.pool}-w1"))[0]
    assert about["HostConfig"]["ReadonlyRootfs"]
    assert about["HostConfig"]["CapDrop"] == ["ALL"]
    assert about["Config"]["Image"].startswith("sha256:"), "a digest: tags move"
    assert "BEGIN NATS USER JWT" not in json.dumps(about)
    assert "/run/headway/worker.creds" in json.dumps(about["Config"]["Env"])


async def test_nothing_is_left_of_a_worker_that_ended(place, until):
    driver = place.driver()
    await driver.spawn(place.launch, "w1", fence=1)
    volumes = _docker("volume", "ls", "--quiet").split()
    mounts = json.loads(_docker("inspect", f"headway-{place.pool}-w1"))[0]["Mounts"]  # in any order
    [mount] = [mount for mount in mounts if mount["Type"] == "volume"]
    assert mount["Name"] in volumes
    await driver.stop("w1", fence=1, kill=True)
    assert (await ended(driver)).worker == "w1"
    await until(lambda: not place.containers())
    assert mount["Name"] not in _docker("volume", "ls", "--quiet").split()


async def test_without_its_docker_image_a_version_is_refused_with_what_to_do(place):
    with pytest.raises(LaunchFailed, match="there is no Docker image of app v1") as refused:
        await place.driver().prepare(replace(place.launch, image="0" * 64))
    assert "headway image build --docker" in refused.value.remedy


async def test_another_pools_workers_are_not_seen(place):
    await place.driver().spawn(place.launch, "w1", fence=1)
    other = DockerDriver(f"{place.pool}-other", network="host", image=place.image)
    try:
        assert await other.list() == []
    finally:
        await other.close()


async def test_a_version_runs_from_the_docker_image_of_its_image(place, tmp_path):
    source = tmp_path / "app"
    source.mkdir()
    (source / "made.py").write_text(SOURCE)
    built = build.build(source / "made.py", version="v1", data_dir=tmp_path, config={"greeting": "good day"})
    made = await docker.build(tmp_path, built.digest, base=place.image)
    try:
        launch = replace(
            place.launch,
            image=built.digest,
            app=built.manifest.app,
            root=str(image.folder(tmp_path, built.digest) / image.SOURCE),
            config={"greeting": "good day"},
        )
        driver = place.driver()
        await driver.spawn(launch, "w1", fence=1)
        await place.serves("w1")
        assert await place.bus.call("app", "told", {}, tenant="t") == ["good day", ""]
        about = json.loads(_docker("inspect", f"headway-{place.pool}-w1"))[0]
        assert about["Image"] == made
        assert about["Config"]["User"] == "10001:10001"
    finally:
        for one in place.opened:
            await one.close()
        if left := place.containers():
            _docker("rm", "--force", "--volumes", *left)
        _docker("image", "rm", made)


async def test_the_scaler_runs_what_was_applied_as_containers(place, tmp_path, until):
    (tmp_path / "headway.yaml").write_text("services: {app: {app: 'made:app', workers: 1}}")
    async with Broker.start(tmp_path / "data", port=0) as broker, await broker.connect("operator") as bus:
        environment = {
            **os.environ,
            "HEADWAY_POOL": place.pool,
            "HEADWAY_NATS_URL": broker.url,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

        async def headway(*arguments: str) -> asyncio.subprocess.Process:
            command = (sys.executable, "-m", "headway", *arguments, "--dir", str(tmp_path / "data"))
            return await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=environment)

        async def served() -> bool:
            try:
                return bool(await bus.call("app", "who", {}, tenant="t", timeout=2))
            except HeadwayError:
                return False

        assert await (await headway("apply")).wait() == 0
        scaler = await headway("scaler", "--driver", "docker", "--docker-network", "host")
        try:
            await until(served, timeout=60)
            assert len(place.containers()) == 1
        finally:
            scaler.terminate()
            code = await scaler.wait()
        assert code == 0
        assert await served(), "workers outlive their scaler"
