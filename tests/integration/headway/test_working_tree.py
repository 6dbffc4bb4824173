"""A working tree whose configured version was released from an image runs beside it, under another label."""

from __future__ import annotations

from headway.config import Config, ServiceConfig
from headway.control.records import VersionRecord
from headway.control.store import Control, version_key
from headway.declare import check, declare

APP = """
from headway import Service

press = Service("press")

@press.rpc("print")
async def print_(request: str) -> str:
    return request
"""


async def test_a_released_version_stays_what_it_was_when_the_working_tree_has_its_label(bus, tmp_path, monkeypatch):
    (tmp_path / "press_tree.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config = Config(services={"press": ServiceConfig(app="press_tree:press", version="v1")})
    services, said = check(config), []
    async with await bus.broker.connect("operator") as operator:
        control = Control(operator)
        released = VersionRecord(
            service="press", version="v1", app="press_tree:press", root="/image", image="sha256-1", phase="retired"
        )
        await declare(config, services, bus.broker, operator, grace=None, say=lambda *line: said.append(line))
        await control.put(version_key("press", "v1"), released)
        await declare(config, services, bus.broker, operator, grace=None, say=lambda *line: said.append(line))
        await control.refresh()
        assert control.versions["press", "v1"] == released
        tree = control.versions["press", "dev"]
        assert (tree.image, tree.weight, tree.phase) == (None, 100, "live")
        assert (await bus.broker.routes())["press"] == {"dev": 100}
    assert any(label == "press" and "the working tree is dev" in line for label, line in said)
