"""The dashboard we ship, on a real collector and a real Prometheus as we configure them: every panel has data.

The collector is the part of the official one that observe/collector.yaml uses, built by scripts/go-tools.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import nats
import pytest

from headway import connect
from headway.bus.errors import HeadwayError
from headway.bus.tasks import end
from tests.support.headway_process import FREE, ROOT, start

pytestmark = pytest.mark.timeout(180)

OBSERVE = ROOT / "observe"
DASHBOARD = json.loads((OBSERVE / "grafana/dashboards/headway.json").read_text())
QUERIES = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
YAML = """
services:
  hello: {app: app:hello, workers: 2}
web: {port: 0, dev_issuer: true}
"""


def program(name: str, missing, remedy: str) -> str:
    path = os.pathsep.join([os.environ["PATH"], str(Path("~/go/bin").expanduser())])
    return shutil.which(name, path=path) or missing(f"{name} is not installed: {remedy}")


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@pytest.fixture(scope="module")
def observed(tmp_path_factory, missing):
    """Collector and Prometheus, and a `headway up` that tells them: the site, and where Prometheus is."""
    collector = program("otelcol", missing, "scripts/go-tools otelcol")
    prometheus = program("prometheus", missing, "apt install prometheus")
    folder = tmp_path_factory.mktemp("observe")
    otlp, shown, asked = (f"127.0.0.1:{port}" for port in free_ports(3))
    config = (OBSERVE / "prometheus.yml").read_text()
    assert config.count("collector:8889") == 1
    (folder / "prometheus.yml").write_text(config.replace("collector:8889", shown))
    running = []

    def run(*command: str, **env: str) -> None:
        with (folder / f"{Path(command[0]).name}.log").open("w") as log:
            running.append(
                subprocess.Popen(
                    command,
                    cwd=folder,
                    env={**os.environ, **env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    site = None
    try:
        run(collector, f"--config={OBSERVE}/collector.yaml", OTLP_ADDRESS=otlp, METRICS_ADDRESS=shown)
        run(
            prometheus,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={asked}",
        )
        (folder / "site").mkdir()
        (folder / "site/headway.yaml").write_text(YAML)
        telemetry = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{otlp}", "OTEL_METRIC_EXPORT_INTERVAL": "1000"}
        site = start(folder / "site", *FREE, **telemetry)
        site.says("ready:")
        yield site, f"http://{asked}"
    finally:
        if site is not None:
            site.end()
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


async def work(site, tenant: str) -> None:
    """Calls, jobs, failures, dead letters, and a browser, until cancelled."""
    about = site.json_of("running.json")
    pages = site.said.partition("pages: ")[2].split()[0]
    async with httpx.AsyncClient(base_url=pages) as http:
        token = (await http.post("/dev/token", json={"tenant": tenant, "user": "ada"})).json()["token"]
        session = (await http.post("/session", headers={"Authorization": f"Bearer {token}"})).json()
    browser = await nats.connect(
        about["ws_url"],
        user_jwt_cb=session["jwt"].encode,
        signature_cb=lambda _nonce: b"",
        inbox_prefix=session["inbox"].encode(),
    )
    try:
        async with await connect(about["url"], creds=about["creds"]) as bus:
            acme = bus.tenant(tenant)
            while True:
                for name in ("Ada", "Nobody", "Trouble"):
                    with contextlib.suppress(HeadwayError):  # two of them are refused
                        await acme.call("hello", "greet", {"name": name}, timeout=5)
                    await acme.submit("hello", "letter", {"name": name})
                await browser.request(f"sync.{tenant}.pull", b'{"types": ["letter"], "since": 0}', timeout=5)
                await asyncio.sleep(0.05)
    finally:
        await browser.close()


async def test_every_query_of_the_dashboard_finds_data(observed, until):
    site, prometheus = observed
    built = await asyncio.to_thread(site.run, "image", "build", "app.py", "--version", "v2")
    assert built.returncode == 0, built.stderr
    os.kill(next(iter(site.workers().values())), signal.SIGKILL)
    deployed = await asyncio.to_thread(site.run, "deploy", "hello", "v2", "--steps", "50,100", "--bake", "1h")
    assert deployed.returncode == 0, deployed.stderr
    empty: dict[str, str] = {}
    working = asyncio.ensure_future(work(site, "acme"))
    async with httpx.AsyncClient(base_url=prometheus, timeout=10) as http:

        async def finds(expression: str) -> bool:
            query = expression.replace("$__rate_interval", "20s").replace("$service", ".*")
            reply = (await http.get("/api/v1/query", params={"query": query})).json()
            assert reply["status"] == "success", (query, reply)
            return any(series["value"][1] != "NaN" for series in reply["data"]["result"])

        async def all_found() -> bool:
            if working.done():
                working.result()
            missing = {expr: title for title, expr in QUERIES if not await finds(expr)}
            empty.clear()
            empty.update(missing)
            return not empty

        try:
            await until(all_found, timeout=90)
        except TimeoutError:
            pytest.fail(f"without data: {json.dumps(empty, indent=1)}")
        finally:
            await end([working])
        told = (await http.get("/api/v1/label/job/values")).json()["data"]
        assert set(told) == {"hello", "headway-scaler", "headway-deployer", "headway-web", "collector"}
        labels = (await http.get("/api/v1/labels")).json()["data"]
        assert [name for name in labels if "tenant" in name] in ([], ["headway_tenant"])
        # Tenants are without number: only the metrics that name the busiest of them have the label.
        of_tenants = (
            await http.get("/api/v1/label/__name__/values", params={"match[]": '{headway_tenant!=""}'})
        ).json()
        assert all(name.startswith("headway_tenant_") for name in of_tenants["data"]), of_tenants["data"]
