"""The containers that users import in their own tests, used as docs/how-to/test-with-containers.md says."""

from __future__ import annotations

import asyncio

import pytest

from headway.broker.containers import HeadwayContainer, NatsClusterContainer
from headway.bus.client.connection import connect
from tests.support.containers_stack import docker_run

pytestmark = pytest.mark.timeout(600)

APP = """
import asyncio
from headway import Context, Service
from pydantic import BaseModel

hello = Service("hello")


class Person(BaseModel):
    name: str


@hello.rpc("greet")
async def greet(person: Person, ctx: Context) -> str:
    return f"Hello {person.name} of {ctx.tenant}"


@hello.job("letter")
async def letter(person: Person, ctx: Context) -> None:
    await asyncio.sleep(0.5)
    await ctx.objects.put("letter", person.name, {"done": True})
"""
YAML = "services:\n  hello:\n    app: app:hello\n    workers: 2\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "headway.yaml").write_text(YAML)
    return tmp_path


async def test_services_of_a_folder_serve_on_a_cluster_that_loses_a_server(image, folder, until):
    image("control")
    with NatsClusterContainer() as cluster, HeadwayContainer(cluster, folder, serving=2) as headway:
        async with await connect(cluster.url, creds=cluster.creds("operator"), name="test") as bus:
            assert await bus.call("hello", "greet", {"name": "Ada"}, tenant="acme", timeout=5) == "Hello Ada of acme"
            assert (await bus.js.stream_info("JOBS_hello")).config.num_replicas == 3
        async with await connect(cluster.url, creds=cluster.creds("client", tenant="acme"), name="acme") as acme:
            cluster.nodes[2].get_wrapped_container().kill()

            async def greeted() -> bool:
                try:
                    await acme.call("hello", "greet", {"name": "Bo"}, tenant="acme", timeout=2)
                except Exception:
                    return False
                return True

            await until(greeted, timeout=60)
        names = [node.get_wrapped_container().id for node in [*cluster.nodes, headway]]
    left = docker_run("docker", "ps", "--all", "--quiet", "--no-trunc").split()
    assert not set(names) & set(left), "nothing is left"


async def test_one_server_is_enough_for_most(docker, until):
    with NatsClusterContainer(1) as cluster:
        async with await connect(cluster.url, creds=cluster.creds("operator"), name="test") as bus:
            await bus.tenant("acme").objects.put("note", "n", {"text": "kept"})
            assert (await bus.tenant("acme").objects.get("note", "n", dict)).value == {"text": "kept"}
        assert cluster.ws_url.startswith("ws://")
        host, _, port = cluster.ws_url.removeprefix("ws://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
