"""The package itself: its own tests, its size, what it depends on, and that the wheel carries it."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from headway.clientsync.server import PAGES

BROWSER = PAGES.parent
ROOT = Path(__file__).parents[2]
LARGEST = 60_000


def _node(missing) -> dict[str, str]:
    """An environment in which there is the Node that built the package."""
    path = os.pathsep.join([os.environ["PATH"], str(ROOT / ".tools" / "node" / "bin")])
    if shutil.which("npm", path=path) is None or not (BROWSER / "node_modules").exists():
        missing("Node and the package's dependencies are not here: scripts/build-browser")
    return {**os.environ, "PATH": path}


def test_the_packages_own_tests_pass(missing):
    done = subprocess.run(
        ["npm", "test"], cwd=BROWSER, env=_node(missing), capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_bundle_is_small(missing):
    if not (PAGES / "index.js").exists():
        missing("the browser side is not built: scripts/build-browser")
    assert len(gzip.compress((PAGES / "index.js").read_bytes(), 9)) <= LARGEST


def test_it_needs_two_packages_at_run_time_and_the_lock_names_no_mirror():
    package = json.loads((BROWSER / "package.json").read_text())
    assert set(package["dependencies"]) == {"@nats-io/nats-core", "idb"}
    lock = (BROWSER / "package-lock.json").read_text()
    hosts = set(re.findall(r'"resolved": "https?://([^/"]+)', lock))
    assert hosts <= {"registry.npmjs.org"}
    for name, entry in json.loads(lock)["packages"].items():
        assert not name or "integrity" in entry, f"{name} has no checksum"


def test_types_and_pages_are_there_and_nothing_comes_from_elsewhere(missing):
    if not (PAGES / "index.js").exists():
        missing("the browser side is not built: scripts/build-browser")
    package = json.loads((BROWSER / "package.json").read_text())
    for entry in package["exports"].values():
        for path in entry.values():
            assert (BROWSER / path).exists(), path
    page = (PAGES / "demo" / "index.html").read_text()
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert "<style" not in page
    assert " style=" not in page


def test_the_wheel_carries_what_is_built_and_none_of_the_sources(tmp_path: Path, missing):
    uv = shutil.which("uv") or shutil.which(ROOT / ".tools" / "bin" / "uv")
    if uv is None:
        missing("uv is not installed: scripts/bootstrap fetches it")
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or _configured_index()
    environment = {**os.environ, **({"UV_DEFAULT_INDEX": index} if index else {})}
    done = subprocess.run(
        [uv, "build", "--wheel", "--python", sys.executable, "--out-dir", tmp_path, ROOT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    if "Failed to fetch" in done.stderr:
        missing("the build's own dependencies cannot be fetched")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("headway/clientsync/browser/")}
    pages = (
        "index.html",
        "home.js",
        "home.css",
        "demo/index.html",
        "demo/demo.js",
        "demo/demo.css",
        "theme.css",
        "icon.svg",
    )
    console = ("console/index.html", "console/console.js", "console/console.css")
    for name in ("index.js", "react.js", "types/index.d.ts", *pages, *console):
        assert f"headway/clientsync/browser/dist/{name}" in names
    assert all(name.startswith("headway/clientsync/browser/dist/") for name in names), names


def _configured_index() -> str:
    """The index pip was told of, as scripts/bootstrap finds it."""
    command = ["python3", "-m", "pip", "config", "get", "global.index-url"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return asked.stdout.strip()
