"""The tutorial, run line by line: its files, its commands, and the output that it shows."""

from __future__ import annotations

import ast
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.headway_process import FREE, ROOT, alive, children, environment

PAGE = (ROOT / "docs/tutorial.md").read_text()
BLOCK = re.compile(r'```(\w+) title="([^"]+)"\n(.*?)```', re.DOTALL)
READS = ("headway dead ls", "headway status", "headway rollout history")
"""Commands that may be asked again: what they show is a moment late."""
PATIENCE = 60.0


def expected(shown: list[str], output: str) -> bool:
    """Whether the lines that a page shows are in an output, in their order. `...` stands for anything."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    for line in (" ".join(line.split()) for line in shown):
        pattern = re.compile(re.escape(line).replace(re.escape("..."), ".*"))
        while line != "..." and lines and not pattern.fullmatch(lines[0]):
            lines.pop(0)
        if line != "..." and not lines:
            return False
    return True


def steps(block: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the output that is shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def replace_function(path: Path, code: str) -> None:
    """Put a new version of a function in the place of the one with its name."""
    [new] = ast.parse(code).body
    source = path.read_text()
    [old] = [node for node in ast.parse(source).body if getattr(node, "name", None) == new.name]
    lines = source.splitlines(keepends=True)
    path.write_text("".join([*lines[: old.decorator_list[0].lineno - 1], code, *lines[old.end_lineno :]]))


@dataclass
class Reader:
    """Somebody who does what the tutorial says."""

    folder: Path
    left_running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", HEADWAY_DIR="")

    def leave_running(self, script: str, shown: list[str]) -> None:
        output = self.folder / f"output-{len(self.left_running)}"
        with output.open("w") as file:
            process = subprocess.Popen(
                ["bash", "-c", script], cwd=self.folder, env=self.env, stdout=file, stderr=subprocess.STDOUT, text=True
            )
        self.left_running.append(process)
        end = time.monotonic() + PATIENCE
        while not expected(shown, output.read_text()):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.1)

    def type(self, command: str, shown: list[str]) -> None:
        if command.startswith("cd "):
            self.folder /= command.removeprefix("cd ")
            return
        command = command.replace("uvx headway", "headway")  # the installed one stands in for that of the registry
        end = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self.env,
                capture_output=True,
                text=True,
                timeout=PATIENCE * 1.5,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            if expected(shown, done.stdout):
                return
            late = not command.startswith(READS) or time.monotonic() > end
            assert not late, f"{command}\nshows:\n{done.stdout}{done.stderr}\nand not:\n" + "\n".join(shown)
            time.sleep(0.2)

    def end(self) -> None:
        for process in reversed(self.left_running):
            below = children(process.pid)
            process.kill()
            process.wait(PATIENCE)
            for pid in alive(below):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(300)
def test_a_reader_who_follows_the_tutorial_sees_what_it_shows(tmp_path):
    reader = Reader(tmp_path)
    try:
        for language, title, text in BLOCK.findall(PAGE):
            if language == "python" and title.endswith(".py"):
                (reader.folder / title).write_text(text)
            elif language == "python":
                replace_function(reader.folder / title.partition(":")[0], text)
            elif title == "Terminal 2":
                for command, shown in steps(text):
                    reader.type(command, shown)
            elif title != "Setup":
                commands = steps(text)
                script = "\n".join(command for command, _ in commands)
                script = script.replace("headway up ", f"exec headway up {shlex.join(FREE)} ")
                reader.leave_running(script, [line for _, shown in commands for line in shown])
        # Nobody who calls notices the releases, but for the calls that v3 took.
        said = (reader.folder / "output-1").read_text()
        assert "KeyError" not in said
        assert all("remote" in line or "error" in line.lower() for line in said.splitlines())
    finally:
        reader.end()


def test_the_tutorial_has_the_blocks_that_are_run():
    titles = [title for _, title, _ in BLOCK.findall(PAGE)]
    assert titles.count("Terminal 2") >= 4
    assert {"Terminal 1", "Terminal 3", "shop.py", "traffic.py", "shop.py: price"} <= set(titles)
    untitled = [block for block in re.findall(r"^```(\w+)$", PAGE, re.MULTILINE) if block in {"python", "console"}]
    assert not untitled


def test_an_output_that_is_not_shown_is_noticed():
    assert expected(["a ... c", "..."], "x\na b c\n")
    assert not expected(["a ... c"], "a b\n")
    assert not expected(["second", "first"], "first\nsecond\n")
