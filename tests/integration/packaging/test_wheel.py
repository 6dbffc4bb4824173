"""The wheel in an environment of its own, beside a project whose folders are named as parts of Headway are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.headway_process import FREE, Up

ROOT = Path(__file__).parents[3]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PATIENCE = 120.0
"""Seconds for what installs or starts something on a busy machine."""
# Folders and modules of the project that have the names of ours.
PROJECT = {
    "bus.py": "NAME = 'their bus'",
    "broker/__init__.py": "NAME = 'their broker'",
    "scaler/__init__.py": "NAME = 'their scaler'",
    "services/__init__.py": "",
    "services/orders.py": """
import sys

import broker
import bus
import scaler
from headway import Service

import headway

orders = Service("orders", ack_wait=1)
seen = []


@orders.rpc("names")
async def names(_request: dict) -> list[str]:
    return [bus.NAME, broker.NAME, scaler.NAME, headway.__file__, *sys.path]


@orders.job("take")
async def take(number: int) -> None:
    seen.append(number)
""",
    "test_orders.py": """
import pytest

from services.orders import orders, seen


@pytest.mark.asyncio
async def test_orders(bus):
    async with bus.serving(orders):
        assert (await bus.call("orders", "names", {}, returns=list))[0] == "their bus"
        await bus.submit("orders", "take", 7, tenant="acme")
    assert seen == [7]
""",
    "headway.yaml": "services: {orders: {app: 'services.orders:orders'}}\nweb: {port: 0, dev_issuer: true}\n",
}


def clean() -> dict[str, str]:
    """The environment without anything that could lead Python to the checkout."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTEST", "COV", "HEADWAY_", "NATS_", "VIRTUAL_ENV"))
    }


def run(*command: str | Path, cwd: Path, **changed: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**clean(), **changed}, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(target: str, source: Path, directory: Path) -> Path:
    """The one file that is built of a source tree, by the build backend that is locked."""
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", directory, cwd=source)
    [made] = directory.iterdir()
    return made


@dataclass(frozen=True)
class Fresh:
    """A virtual environment that has the wheel and its dependencies, and a project beside it."""

    bin: Path
    project: Path

    def python(self, code: str) -> str:
        return run(self.bin / "python", "-c", code, cwd=self.project).strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def install(wheel, tmp_path_factory, missing: Callable[[str], None]) -> Callable[..., Path]:
    """`install("env", "control", "web")`: a new environment with the wheel and these extras; its folder."""
    uv = next((path for path in (ROOT / ".tools/bin/uv", Path("uv")) if _runs(path)), None)
    if uv is None:
        missing("uv is neither in .tools nor on PATH: scripts/bootstrap fetches it")
        raise AssertionError
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL")
    settings = {"UV_DEFAULT_INDEX": index} if index else {}
    # As in the lock file: so they are in uv's cache, and no other day brings other ones.
    constraints = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    locked = run(uv, "export", "--quiet", "--frozen", "--no-hashes", "--no-emit-workspace", "--no-header", cwd=ROOT)
    constraints.write_text(locked)

    def make(name: str, *extras: str, beside: tuple[str, ...] = ()) -> Path:
        folder = tmp_path_factory.mktemp(name)
        run(uv, "venv", "--quiet", "--python", sys.executable, folder / "env", cwd=folder)
        wanted = (f"{wheel}[{','.join(extras)}]" if extras else str(wheel), *beside)
        python = folder / "env/bin/python"
        run(uv, "pip", "install", "--quiet", "--python", python, "-c", constraints, *wanted, cwd=folder, **settings)
        return folder

    return make


@pytest.fixture(scope="module")
def fresh(install) -> Fresh:
    folder = install("fresh", "control", "web", beside=("mypy", "pytest", "pytest-asyncio", "ruff"))
    project = folder / "project"
    for name, text in PROJECT.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    return Fresh(folder / "env/bin", project)


def _runs(program: Path) -> bool:
    try:
        return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="module")
def up(fresh) -> Iterator[Up]:
    """`headway up` as the project's owner starts it."""
    said = fresh.project / "output"
    with said.open("w") as file:
        process = subprocess.Popen(
            [fresh.bin / "headway", "up", *FREE],
            cwd=fresh.project,
            env=clean(),
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    running = Up(fresh.project, process, said)
    try:
        running.says("ready:")
        yield running
    finally:
        running.end()


def test_the_wheel_holds_headway_and_its_metadata_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"headway", f"headway-{VERSION}.dist-info"}
    assert not [name for name in names if "node_modules" in name or name.endswith(".tsx")]
    assert not [name for name in names if name.endswith(".ts") and not name.endswith(".d.ts")]


def test_the_wheel_has_every_module_of_the_checkout_and_the_pages(wheel):
    # `headway/` has a link to each part, so that one walk which follows links comes to all of them.
    modules = {
        str(Path(folder, name).relative_to(ROOT))
        for folder, _, names in os.walk(ROOT / "headway", followlinks=True)
        for name in names
        if name.endswith(".py") and "node_modules" not in folder
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "headway/services/fax/pages.py" in modules
    assert not modules - names
    pages = "headway/clientsync/browser/dist/"
    assert {
        pages + page for page in ("index.html", "index.js", "home.js", "demo/demo.js", "console/index.html")
    } <= names


def test_a_source_distribution_makes_the_same_wheel(wheel, tmp_path):
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    [source] = (tmp_path / "source").iterdir()
    again = build("wheel", source, tmp_path / "again")
    assert _contents(again) == _contents(wheel)


def _contents(wheel: Path) -> dict[str, bytes]:
    archive = zipfile.ZipFile(wheel)
    return {name: archive.read(name) for name in archive.namelist()}


def test_what_runs_is_the_wheel_and_not_the_checkout(fresh):
    path, file = json.loads(fresh.python("import json, sys, headway; print(json.dumps([sys.path, headway.__file__]))"))
    assert path[0] == ""  # the project's own folder
    assert not [entry for entry in path[1:] if Path(entry).resolve().is_relative_to(ROOT)]
    assert Path(file).is_relative_to(fresh.bin.parent)


@pytest.mark.parametrize("name", ["control", "images", "deployer", "clientsync"])
def test_the_wheel_installs_no_module_of_a_common_name(fresh, name):
    assert fresh.python(f"import importlib.util; print(importlib.util.find_spec({name!r}))") == "None"


def test_the_projects_services_run_in_headway_up_and_import_their_own_modules(fresh, up):
    names = json.loads(
        run(fresh.bin / "headway", "call", "orders", "names", "{}", "--tenant", "acme", cwd=fresh.project)
    )
    assert names[:3] == ["their bus", "their broker", "their scaler"]
    ours, *path = names[3:]
    assert Path(ours).is_relative_to(fresh.bin.parent)
    assert not [entry for entry in path if Path(entry).resolve().is_relative_to(ROOT)]


def test_the_pages_are_served_out_of_the_wheel(fresh, up):
    said = up.says("console: http://127.0.0.1:")
    address = said.partition("console: ")[2].split("/console")[0]
    page = fresh.python(f"import httpx; print(httpx.get({address!r} + '/console/').raise_for_status().text)")
    assert "<html" in page


def test_headway_up_ends_when_it_is_told_to(up):
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(PATIENCE) == 0, up.said


def test_the_projects_tests_use_the_pytest_fixture(fresh):
    said = run(fresh.bin / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=fresh.project)
    assert "1 passed" in said


@pytest.mark.parametrize("template", ["minimal", "service", "page"])
def test_a_new_project_passes_its_own_tests_and_checks(fresh, template):
    place = fresh.project.parent / f"new-{template}"
    place.mkdir()
    assert "next: cd my-shop" in run(fresh.bin / "headway", "new", "my-shop", "--template", template, cwd=place)
    project = place / "my-shop"
    python = (fresh.bin / "python", "-m")
    run(*python, "ruff", "check", "--no-cache", cwd=project)
    run(*python, "ruff", "format", "--check", "--no-cache", cwd=project)
    run(*python, "mypy", "--cache-dir", str(place / "mypy"), cwd=project)
    assert "passed" in run(*python, "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    schema = json.loads((project / ".vscode/headway.schema.json").read_text())
    assert schema["title"] == "headway.yaml"
    assert {".gitignore", ".editorconfig", "Dockerfile", ".github"} <= {path.name for path in project.iterdir()}


def test_a_new_project_is_served_by_headway_dev_with_its_page(fresh):
    project = fresh.project.parent / "shop"
    run(fresh.bin / "headway", "new", "shop", cwd=project.parent)
    said = project / ".output"
    with said.open("w") as file:
        process = subprocess.Popen(
            [fresh.bin / "headway", "dev", *FREE, "--web-port", "0"],
            cwd=project,
            env=clean(),
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    dev = Up(project, process, said)
    try:
        address = dev.says("\nready:") and dev.says("console: ").partition("pages: ")[2].split()[0]
        command = (fresh.bin / "headway", "call", "orders", "price", '{"order": "a", "quantity": 3}')
        assert run(*command, "--tenant", "acme", cwd=project).strip() == "30"
        get = f"import httpx; print(httpx.get({address!r} + '/%s').raise_for_status().text)"
        assert "<title>shop</title>" in fresh.python(get % "")
        assert "openStore" in fresh.python(get % "client/index.js")
    finally:
        dev.end()


# Runs each command line in one process, as `headway` does, and prints its exit code and output.
EACH = """
import contextlib, io, json, sys
from headway.cli import main

for words in json.loads(sys.stdin.read()):
    sys.argv = ["headway", *words]
    said, code = io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([words, code or 0, said.getvalue()]))
"""
HELLO = "from headway import Service\nhello = Service('hello')\n"


def tried(folder: Path, *commands: tuple[str, ...]) -> dict[tuple[str, ...], tuple[int, str]]:
    """Exit code and output of each command line in an environment."""
    (folder / "hello.py").write_text(HELLO)
    done = subprocess.run(
        [folder / "env/bin/python", "-c", EACH],
        cwd=folder,
        env=clean(),
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {tuple(words): (code, said) for words, code, said in map(json.loads, done.stdout.splitlines())}


def helps() -> list[tuple[str, ...]]:
    from headway.cli import headway

    return [(name, "--help") for section in headway.sections.values() for name in section]


@pytest.mark.parametrize("extra", ["", "charts", "docker", "services", "telemetry", "web"])
def test_with_one_extra_alone_every_command_works_or_names_the_one_command_that_brings_what_it_lacks(install, extra):
    folder = install(f"with-{extra or 'nothing'}", *([extra] if extra else []))
    found = tried(folder, *helps(), ("new", f"made-{extra or 'bare'}", "--template", "minimal"), ("up", "hello:hello"))
    for words, (code, said) in found.items():
        assert code == 0 or "fix: pip install 'headway[" in said, f"{words}: {said}"
    base = ("call", "completion", "dead", "docs", "emit", "env", "new", "submit", "worker")
    assert not [name for name in base if found[name, "--help"][0] != 0]
    assert "fix: pip install 'headway[control]'" in found["up", "hello:hello"][1]


def test_the_control_plane_alone_runs_all_commands_and_names_what_their_options_need(install):
    folder = install("control-alone", "control")
    found = tried(
        folder,
        *helps(),
        ("up", "hello:hello", "--console", "--port", "0", "--websocket-port", "0"),
        ("dev", "hello:hello", "--port", "0", "--websocket-port", "0"),
        ("scaler", "--driver", "docker"),
        ("demo",),
    )
    assert "fix: pip install 'headway[control,web]'" in found["web", "--help"][1]
    assert "fix: pip install 'headway[control,services]'" in found["demo",][1]
    assert [words for words, (code, _) in found.items() if "--help" in words and code != 0] == [("web", "--help")]
    web = [said for words, (_, said) in found.items() if "hello:hello" in words]
    assert all("fix: pip install 'headway[control,web]'" in said for said in web), web
    assert "fix: pip install 'headway[control,docker]'" in found["scaler", "--driver", "docker"][1]
