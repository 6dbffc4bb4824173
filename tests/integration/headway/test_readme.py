"""The README's first service, copied out of it and run with the README's own commands."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.support.headway_process import FREE, ROOT, start

README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """The README's code block of a language that contains a text."""
    found = [text for kind, text in re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL) if kind == language]
    return next(text for text in found if containing in text)


def commands(text: str) -> list[list[str]]:
    """What is typed after the prompts, without comments."""
    return [shlex.split(line[2:], comments=True) for line in text.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The README's second terminal: its service runs, started as the README starts it."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "hello.py").write_text(block("python", "Service("))
    [started] = [c for c in commands(block("console", "headway up")) if c[0] == "headway"]
    running = start(folder, *started[2:], *FREE, "--web-port", "0")
    try:
        running.says("ready:")
        running.says("console: http://127.0.0.1:")
        yield running
    finally:
        running.end()


def test_the_first_service_has_about_20_lines():
    assert len(block("python", "Service(").splitlines()) <= 22


def test_its_commands_work_as_they_are_written(site, eventually):
    said = {}
    for command in commands(block("console", "headway call hello")):
        if command[0] == "headway":
            done = site.run(*command[1:])
            assert done.returncode == 0, done.stderr
            said[" ".join(command[1:3])] = done.stdout
    assert "Hello Ada, says" in said["call hello"]
    assert "to acme" in said["call hello"]
    assert "hello" in said["status"]
    eventually(lambda: "there is nobody to write to" in site.run("dead", "ls").stdout)
