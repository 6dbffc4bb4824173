"""A Docker daemon, images made of this tree, and the stack of compose.yaml on ports of its own."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 180.0
"""Seconds for what builds or starts many things on a busy machine."""
BUILDING = 900.0
OBSERVED = ("--env-file", "observe/compose.env")
PORTS = (
    "HEADWAY_PORT",
    "HEADWAY_PORT_2",
    "HEADWAY_PORT_3",
    "HEADWAY_WS_PORT",
    "HEADWAY_WS_PORT_2",
    "HEADWAY_WS_PORT_3",
    "HEADWAY_WEB_PORT",
    "HEADWAY_PROMETHEUS_PORT",
    "HEADWAY_GRAFANA_PORT",
)


def docker_run(*arguments: str, timeout: float = PATIENCE, **options) -> str:
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
        **options,
    )
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}\n{done.stderr}"
    return done.stdout


def _works(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


@pytest.fixture(scope="session")
def docker(missing) -> None:
    """There is a Docker daemon."""
    if not _works("docker", "info"):
        missing("no Docker daemon runs here")


@pytest.fixture(scope="session")
def composes(docker, missing) -> list[list[str]]:
    """The kinds of Compose that are here: `docker compose`, `docker-compose`."""
    kinds = [["docker", "compose"], ["docker-compose"]]
    found = [kind for kind in kinds if _works(*kind, "version")]
    if not found or (len(found) < len(kinds) and os.environ.get("CI") == "true"):
        missing("Docker Compose is not installed: scripts/go-tools compose, apt install docker-compose")
    return found


@pytest.fixture(scope="session")
def image(docker) -> Callable[[str], str]:
    """`image("worker")`: build a target of the Dockerfile, and return its name."""
    made: set[str] = set()

    def build(target: str) -> str:
        name = f"headway-{target}"
        if target not in made:
            # The tests run in several processes: who comes second finds all layers made.
            with (Path(tempfile.gettempdir()) / "headway-tests-build.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                docker_run("docker", "build", "--quiet", "--target", target, "--tag", name, ".", timeout=BUILDING)
            made.add(target)
        return name

    return build


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@dataclass
class Stack:
    """The containers of compose.yaml, up.

    Attributes:
        ports: by the variable that sets them.
        creds: the operator's credentials file.
    """

    command: list[str]
    project: str
    ports: dict[str, int]
    creds: Path

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.ports['HEADWAY_PORT']}"

    @property
    def pages(self) -> str:
        return f"http://localhost:{self.ports['HEADWAY_WEB_PORT']}"

    def compose(self, *arguments: str) -> str:
        environment = {**os.environ, **{name: str(port) for name, port in self.ports.items()}}
        return docker_run(*self.command, "--project-name", self.project, *arguments, env=environment)

    def inspect(self, service: str) -> dict:
        labels = {"project": self.project, "service": service}
        filters = [f"--filter=label=com.docker.compose.{key}={value}" for key, value in labels.items()]
        [container] = docker_run("docker", "ps", "--all", "--quiet", *filters).split()
        return json.loads(docker_run("docker", "inspect", container))[0]

    def until_healthy(self, *services: str) -> None:
        deadline = time.monotonic() + PATIENCE
        for service in services:
            while self.inspect(service)["State"]["Health"]["Status"] != "healthy":
                assert time.monotonic() < deadline, self.compose("logs", "--tail=50", service)
                time.sleep(0.3)


def has_image_of(service: str) -> bool:
    """Whether an image that compose.yaml names is here. The names are unique enough to find it by."""
    [name] = re.findall(rf"^    image: (\S*{service}\S*:\S+)$", (ROOT / "compose.yaml").read_text(), re.MULTILINE)
    return _works("docker", "image", "inspect", name)


def _logs(stack: Stack) -> None:
    print(stack.compose("ps", "-a"), stack.compose("logs", "--tail=40"))


@contextmanager
def standing(command: list[str], folder: Path, *servers: str) -> Iterator[Stack]:
    """`compose up`, ready; in the end nothing is left of it.

    Args:
        command: the kind of Compose, and its options.
        folder: where the operator's credentials are put.
        servers: that it has.
    """
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    made = Stack(command, f"headway-test-{secrets.token_hex(3)}", ports, folder / "operator.creds")
    try:
        made.compose("up", "-d", "--no-build")
        made.until_healthy(*servers, "scaler", "web")
        made.creds.write_text(made.compose("exec", "-T", "web", "cat", "/var/lib/headway/creds/operator.creds"))
        yield made
    except BaseException:
        _logs(made)
        raise
    finally:
        made.compose("kill")
        made.compose(*OBSERVED, "down", "--volumes", "--remove-orphans", "--timeout", "10")


@pytest.fixture(scope="session")
def stack(composes, image, tmp_path_factory) -> Iterator[Stack]:
    """The default profile."""
    image("control")
    with standing(composes[0], tmp_path_factory.mktemp("creds"), "nats-1", "nats-2", "nats-3") as made:
        yield made
