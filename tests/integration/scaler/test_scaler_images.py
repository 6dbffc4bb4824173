"""Workers run from images: what was built is what runs, whatever became of the working tree, or nothing runs at all."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from headway.bus.errors import HeadwayError, RemoteError
from headway.control.records import Scale, ScaleRecord, ServiceRecord, VersionRecord
from headway.control.store import Control, scale_key, service_key, version_key
from headway.images import image, seal, signing, store
from headway.images.build import build, snapshot
from headway.images.seal import Sealer
from headway.scaler.controller import Scaler
from headway.scaler.drivers.driver import Launch
from headway.scaler.drivers.process import rundir
from headway.scaler.drivers.process.driver import ProcessDriver
from headway.scaler.errors import LaunchFailed

SOURCE = """
import subprocess, sys
from pydantic import BaseModel
from headway import Context, Service

class Config(BaseModel):
    says: str = "hello"

app = Service("app", config=Config)

@app.rpc("who")
async def who(request: None, ctx: Context) -> str:
    return f"{ctx.config(Config).says} from {__file__}"

@app.rpc("late")
async def speak(request: None) -> str:
    from app import late  # not before somebody asks
    return late.WORD

@app.rpc("child", timeout=30)
def child(request: None) -> None:
    subprocess.run([sys.executable, "-c", "import app.late"], check=True)
"""


class Place:
    """A service built as an image, and a driver that runs it."""

    def __init__(self, broker, path: Path, driver: ProcessDriver) -> None:
        self.broker, self.path, self.driver = broker, path, driver
        self.tree = path / "tree"
        (self.tree / "app").mkdir(parents=True)
        (self.tree / "app/__init__.py").write_text(SOURCE)
        (self.tree / "app/late.py").write_text('WORD = "built"\n')
        self.built = build(self.tree / "app", version="v1", data_dir=path, config={"says": "good day"})
        self.root = image.folder(path, self.built.digest)
        self.source = self.root / image.SOURCE

    def launch(self) -> Launch:
        creds = self.path / "worker.creds"
        creds.write_text(self.broker.identities.creds("worker", service="app"))
        manifest = self.built.manifest
        return Launch(
            service="app",
            version="v1",
            app=manifest.app,
            root=str(self.source),
            config=manifest.config,
            grace=5,
            image=self.built.digest,
            environment={"HEADWAY_NATS_URL": self.broker.url, "HEADWAY_NATS_CREDS": str(creds)},
        )

    def tamper(self, name: str = "app/late.py", text: str = 'WORD = "changed"\n') -> None:
        path = self.source / name
        path.parent.chmod(0o700)
        path.unlink(missing_ok=True)
        path.write_text(text)

    async def asks(self, bus, operation: str = "who") -> str:
        return await bus.call("app", operation, None, tenant="t", timeout=30)


@pytest.fixture
async def place(nats_broker, tmp_path):
    await nats_broker.set_routes({"app": {"v1": 100}})
    run = tmp_path / "run"
    driver = ProcessDriver(run)
    yield Place(nats_broker, tmp_path, driver)
    await driver.close()
    for one in rundir.workers(run):
        if rundir.alive(one):
            os.kill(one.pid, signal.SIGKILL)
    run.rename(tmp_path / "gone")  # then the zygote leaves


@pytest.fixture
async def bus(nats_broker):
    async with await nats_broker.connect("operator") as connected:
        yield connected


async def answered(until, place: Place, bus) -> str:
    async def answer() -> str | None:
        try:
            return await place.asks(bus)
        except HeadwayError:  # not there yet
            return None

    return await until(answer)


async def test_a_version_serves_from_its_image_although_the_working_tree_is_gone(place, bus, until):
    shutil.rmtree(place.tree)
    await place.driver.spawn(place.launch(), "w1", fence=1)
    assert await answered(until, place, bus) == f"good day from {place.source / 'app/__init__.py'}"
    assert await place.asks(bus, "late") == "built"


async def test_neither_the_working_directory_nor_pythonpath_gets_in_the_way_of_an_image(place, bus, until, monkeypatch):
    shadow = place.path / "shadow"
    (shadow / "app").mkdir(parents=True)
    (shadow / "app/__init__.py").write_text("raise RuntimeError('this is not the image')\n")
    monkeypatch.setenv("PYTHONPATH", str(shadow))
    monkeypatch.chdir(shadow)
    await place.driver.spawn(place.launch(), "w1", fence=1)
    assert (await answered(until, place, bus)).startswith("good day from ")


async def test_running_from_an_image_leaves_no_trace_in_it(place, bus, until):
    await place.driver.spawn(place.launch(), "w1", fence=1)
    await answered(until, place, bus)
    await place.asks(bus, "late")
    await place.asks(bus, "child")
    assert image.verify(place.root, place.built.digest) == place.built.manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda place: place.tamper(), "app/late.py was changed"),
        (lambda place: place.tamper("app/more.py"), "app/more.py was added"),
        (lambda place: shutil.rmtree(place.root), "there is no image in"),
    ],
    ids=["changed", "added", "removed"],
)
async def test_a_changed_image_is_refused_before_it_is_imported(place, change, message):
    change(place)
    with pytest.raises(LaunchFailed, match=message):
        await place.driver.spawn(place.launch(), "w1", fence=1)
    assert not await place.driver.list()


async def test_an_image_that_nobody_signed_is_refused_before_it_is_imported(place, until, bus):
    """The remedy's command signs it, and then it runs."""
    statement = seal.statement_path(place.path / image.IMAGES, place.built.digest)
    statement.unlink()
    with pytest.raises(LaunchFailed, match="is not signed"):
        await place.driver.prepare(place.launch())
    mallory = Sealer.create(place.path / "mallory")
    signing.sign_trusted(place.path, place.built.digest, "mallory", mallory)
    with pytest.raises(LaunchFailed, match="does not trust"):
        await place.driver.prepare(place.launch())
    signing.sign_trusted(place.path, place.built.digest, "ada")
    await place.driver.prepare(place.launch())


async def test_an_image_that_is_changed_while_it_runs_starts_no_further_worker_until_it_is_mended(place, bus, until):
    await place.driver.spawn(place.launch(), "w1", fence=1)
    await answered(until, place, bus)
    place.tamper()
    with pytest.raises(LaunchFailed, match=r"app/late\.py was changed"):
        await place.driver.spawn(place.launch(), "w2", fence=1)
    assert [one.worker for one in await place.driver.list()] == ["w1"], "what runs goes on"
    again = build(place.tree / "app", version="v1", data_dir=place.path, config={"says": "good day"})
    assert again.digest == place.built.digest
    await place.driver.spawn(place.launch(), "w2", fence=1)
    await until(lambda: b"serves as w2" in (place.path / "run/w2.log").read_bytes())
    assert {one.worker for one in await place.driver.list()} == {"w1", "w2"}


async def test_code_that_was_changed_after_the_start_is_not_run_when_it_is_imported_late(place, bus, until):
    await place.driver.spawn(place.launch(), "w1", fence=1)
    await answered(until, place, bus)
    place.tamper()
    with pytest.raises(RemoteError):
        await place.asks(bus, "late")


async def test_an_image_is_not_run_with_another_configuration_than_it_was_built_with(place):
    with pytest.raises(LaunchFailed, match="root, app or configuration"):
        await place.driver.prepare(replace(place.launch(), config={"says": "good night"}))


async def test_requirements_that_are_not_installed_are_named_with_what_to_do(place):
    manifest, gathered = snapshot(place.tree / "app", version="v2")
    wanted = {**manifest.requirements, "pydantic": "1.0", "no-such-thing": "2.0"}
    digest = store.publish(place.path, manifest.model_copy(update={"requirements": wanted}), gathered.files)
    signing.sign_trusted(place.path, digest, "test")
    source = image.folder(place.path, digest) / image.SOURCE
    with pytest.raises(LaunchFailed) as refused:
        await place.driver.prepare(replace(place.launch(), config={}, root=str(source), image=digest))
    assert "pydantic 1.0 (" in refused.value.message
    assert "no-such-thing 2.0 (nothing is installed)" in refused.value.message
    assert "pip install" in refused.value.message
    assert "typing-extensions" not in refused.value.message, "what is as locked is not named"


async def test_the_scaler_tells_which_file_of_an_image_was_changed(place, bus, until):
    place.tamper()
    control = Control(bus)
    launch = place.launch()
    await control.put(service_key("app"), ServiceRecord(service="app", scale=Scale.fixed(1), calls=True))
    record = VersionRecord(
        service="app",
        version="v1",
        app=launch.app,
        root=launch.root,
        config=dict(launch.config),
        image=launch.image,
        weight=100,
    )
    await control.put(version_key("app", "v1"), record)
    controller = Scaler(bus, place.driver, lambda _version: launch, holder="scaler", period=0.2)
    stop = asyncio.Event()
    task = asyncio.ensure_future(controller.run(stop))

    async def told() -> ScaleRecord | None:
        found = await control.get(scale_key("app", "v1"), ScaleRecord)
        return found.value if found is not None and found.value.last_exit else None

    try:
        written = await until(told)
        assert written.last_exit == "could not be started"
        assert any("app/late.py was changed" in line for line in written.stderr)
        assert not await place.driver.list()
    finally:
        stop.set()
        await task
