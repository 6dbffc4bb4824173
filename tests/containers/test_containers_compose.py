"""compose.yaml, as somebody who has nothing but Docker uses it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from playwright.async_api import async_playwright

from headway.bus.client.connection import connect
from headway.bus.errors import HeadwayError
from tests.support.containers_stack import OBSERVED, docker_run, has_image_of, standing

pytestmark = pytest.mark.timeout(600)  # the first test waits for the stack
NATS = shutil.which("nats", path=os.pathsep.join([os.environ["PATH"], str(Path("~/go/bin").expanduser())]))
ACME = "document.querySelector('[data-tenant=acme]')"


def nats(stack, *arguments: str) -> str:
    done = subprocess.run(
        [NATS, "--server", stack.url, "--creds", stack.creds, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("profiles", [[], ["single"], ["cluster", "observe"]], ids=["default", "single", "observe"])
def test_every_kind_of_compose_takes_the_file(composes, profiles):
    for compose in composes:
        options = [word for profile in profiles for word in ("--profile", profile)]
        services = set(docker_run(*compose, *options, "config", "--services").split())
        assert {"init", "apply", "scaler", "deployer", "web"} <= services


def test_everything_is_up_after_nothing_but_up(stack):
    for service in ("init", "apply"):
        assert stack.inspect(service)["State"]["ExitCode"] == 0
    for service in ("scaler", "deployer", "web", "nats-1", "nats-2", "nats-3"):
        assert stack.inspect(service)["State"]["Status"] == "running"
    status = json.loads(stack.compose("exec", "-T", "scaler", "headway", "status", "--json"))
    assert {row["service"] for row in status["rows"] if row["workers"]} == {"calls", "fax", "voicemail"}


def test_containers_may_do_no_more_than_they_need(stack):
    for service in ("scaler", "deployer", "web", "nats-1"):
        about = stack.inspect(service)
        assert about["HostConfig"]["ReadonlyRootfs"], service
        assert about["HostConfig"]["CapDrop"] == ["ALL"], service
        assert about["Config"]["User"] == "10001:10001", service
        published = [one["HostIp"] for ports in about["HostConfig"]["PortBindings"].values() for one in ports]
        assert set(published) <= {"127.0.0.1"}, service


def test_a_server_has_no_secret_of_the_installation(stack):
    mounts = {mount["Destination"] for mount in stack.inspect("nats-2")["Mounts"]}
    assert mounts == {"/node"}
    assert "keys.json" not in stack.compose("exec", "-T", "nats-2", "sh", "-c", "echo /node/*")


def test_plain_nats_requests_are_answered(stack, missing):
    if NATS is None:
        missing("the nats CLI is not installed")
    fax = '{"fax": "f1", "to": "+15550100", "text": "Hello"}'
    assert json.loads(nats(stack, "req", "--raw", "job.fax.acme.send", fax))["stream"] == "JOBS_fax"
    call = '{"call": "c1", "caller": "+15550101", "skill": "sales", "language": "en"}'
    assert json.loads(nats(stack, "req", "--raw", "rpc.calls.acme.route", call))["call"] == "c1"
    micro = nats(stack, "micro", "ls")
    assert all(name in micro for name in ("calls", "fax", "voicemail"))


def test_streams_have_a_copy_in_each_zone(stack, missing):
    if NATS is None:
        missing("the nats CLI is not installed")
    for name in ("OBJECTS", "JOBS_fax"):
        info = json.loads(nats(stack, "stream", "info", name, "--json"))
        copies = {info["cluster"]["leader"], *(peer["name"] for peer in info["cluster"]["replicas"])}
        assert copies == {"nats-1", "nats-2", "nats-3"}, name


async def test_a_browser_sees_what_happens(stack, missing):
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        missing("Chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(stack.pages)

        async def until(condition: str) -> None:
            async with asyncio.timeout(60):
                while not await page.evaluate(condition):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

        await until(f"{ACME}?.querySelector('.pill')?.textContent === 'Up to date'")
        await until(f"{ACME}.querySelector('.people').textContent.includes('ben')")
        await page.keyboard.press("1")
        await page.keyboard.press("c")
        await page.keyboard.press("v")
        await until(f"{ACME}.querySelector('.call[data-state=active]')")
        await until(f"{ACME}.querySelector('.voicemail .wave rect')")
        await browser.close()


async def test_with_one_zone_gone_work_goes_on_and_the_zone_comes_back(stack, until):
    async with await connect(stack.url, creds=str(stack.creds), name="test") as bus:
        stack.compose("kill", "nats-3")
        acme = bus.tenant("acme")

        async def stored() -> bool:
            try:
                await acme.objects.put("note", "n1", {"text": "kept"})
            except HeadwayError:
                return False
            return True

        await until(stored, timeout=60)
        stack.compose("start", "nats-3")
        await asyncio.to_thread(stack.until_healthy, "nats-3")

        async def whole() -> bool:
            info = await bus.js.stream_info("OBJECTS")
            return all(peer.current and not peer.offline for peer in info.cluster.replicas)

        await until(whole, timeout=60)
        assert (await acme.objects.get("note", "n1", dict)).value == {"text": "kept"}


async def test_observed_all_processes_tell_prometheus(stack, missing, until):
    if not (has_image_of("collector") and has_image_of("prom/")):
        missing("there is no image of the collector or of Prometheus: scripts/go-tools, scripts/base-images")
    tell = ("scaler", "deployer", "web")
    stack.compose(*OBSERVED, "up", "-d", "--no-build", "--no-deps", "collector", "prometheus", *tell)
    stack.until_healthy("prometheus", "scaler", "web")
    for service in ("collector", "prometheus"):
        about = stack.inspect(service)
        assert about["HostConfig"]["ReadonlyRootfs"], service
        assert about["HostConfig"]["CapDrop"] == ["ALL"], service
        assert about["Config"]["User"].split(":")[0] not in {"", "0"}, service
    at = f"http://127.0.0.1:{stack.ports['HEADWAY_PROMETHEUS_PORT']}"
    async with httpx.AsyncClient(base_url=at, timeout=10) as prometheus:

        async def all_tell() -> bool:
            reply = (await prometheus.get("/api/v1/query", params={"query": "target_info"})).json()
            jobs = {series["metric"]["job"] for series in reply["data"]["result"]}
            return jobs == {"calls", "fax", "voicemail", *(f"headway-{name}" for name in tell)}

        await until(all_tell, timeout=60)


def test_one_server_is_enough_for_the_other_kind_of_compose(composes, image, tmp_path, missing):
    image("control")
    if NATS is None:
        missing("the nats CLI is not installed")
    with standing([*composes[-1], "--profile", "single"], tmp_path, "nats") as single:
        assert "fax" in nats(single, "micro", "ls")


def test_stopped_workers_finish_what_they_have_and_servers_wait_for_them(stack):
    stack.compose("stop")
    ended = stack.inspect("scaler")["State"]
    assert ended["ExitCode"] == 0
    said = stack.compose("logs", "scaler")
    assert all(f"{name} v1 has stopped" in said for name in ("calls", "fax", "voicemail"))
    for server in ("nats-1", "nats-2", "nats-3"):
        state = stack.inspect(server)["State"]
        assert state["ExitCode"] == 0, server
        assert state["FinishedAt"] > ended["FinishedAt"], server


def test_a_stopped_stack_comes_back(stack):
    """After all tests before it: servers were stopped, killed and started again. `up` returns once `apply` is done."""
    stack.compose("up", "-d", "--no-build")
    assert "TLS route handshake error" not in stack.compose("logs", "nats-1", "nats-2", "nats-3")
