"""`headway dev`: edits are served at once, queued work stays, and a broken edit changes nothing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time

import pytest

from tests.support.headway_process import FREE, Up, eventually, start

SHOP = """
import asyncio
from headway import Context, Service
from prices import PRICE

shop = Service("shop")

@shop.rpc("price")
async def price(quantity: int) -> int:
    return PRICE * quantity

@shop.job("ship")
async def ship(order: int, ctx: Context) -> None:
    await asyncio.sleep(0.3)
    await ctx.objects.put("parcel", str(order), {})

@shop.rpc("sent")
async def sent(orders: int, ctx: Context) -> int:
    return sum([await ctx.objects.get("parcel", str(n), dict) is not None for n in range(orders)])
"""
CLOCK = """
from headway import Service
clock = Service("clock")

@clock.rpc("time")
async def time(_: None) -> str:
    return "noon"
"""
CONFIG = "services:\n  shop: {app: shop:shop}\n  clock: {app: clock:clock}\n"
WITHIN = 0.5
"""Seconds from an edit to the first answer of the new code, on a machine with nothing else to do."""


def crowded() -> float:
    """How many processes share each processor at the moment, at least one."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dev")
    for name, text in {"shop.py": SHOP, "clock.py": CLOCK, "prices.py": "PRICE = 1\n", "headway.yaml": CONFIG}.items():
        (folder / name).write_text(text)
    running = start(folder, *FREE, "--web-port", "0", command="dev", FORCE_COLOR="1")
    try:
        running.says("\nready:")
        yield running
    finally:
        running.end()


@pytest.fixture
async def bus(dev, monkeypatch):
    from headway import connect

    found = dev.json_of("running.json")
    async with await connect(found["url"], creds=found["creds"]) as connected:
        yield connected


async def price(bus) -> int:
    return await bus.call("shop", "price", 1, tenant="acme", returns=int, timeout=5)


async def edit(dev: Up, bus, value: int) -> float:
    """Change the price; the seconds until it is asked for."""
    began = time.monotonic()
    (dev.folder / "prices.py").write_text(f"PRICE = {value}\n")
    while await price(bus) != value:
        assert time.monotonic() - began < 30, dev.said
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def test_an_edit_of_a_module_is_served_within_half_a_second_and_other_services_go_on(dev, bus):
    # Other tests run on this machine: the best of several counts, by the processors that it got.
    clock = {worker for worker in dev.workers() if f"clock v1 serves as {worker}" in dev.said}
    took = [await edit(dev, bus, 3)]
    while min(took) > WITHIN * crowded() and len(took) < 8:
        await asyncio.sleep(1)  # nobody saves faster than that
        took.append(await edit(dev, bus, 3 + len(took)))
    assert min(took) <= WITHIN * crowded(), took
    assert clock
    assert clock <= dev.workers().keys()
    dev.says("reloaded in ")


async def test_calls_never_fail_and_queued_work_stays_while_code_is_edited(dev, bus):
    for order in range(6):
        await bus.submit("shop", "ship", order, tenant="acme")
    await edit(dev, bus, 100)
    await edit(dev, bus, 101)
    end = time.monotonic() + 30
    while await bus.call("shop", "sent", 6, tenant="acme", returns=int, timeout=5) < 6:
        assert time.monotonic() < end, dev.said
    assert dev.json("status", "--json")["dead"] == {}


async def test_a_broken_edit_shows_its_error_and_the_former_workers_go_on(dev, bus):
    await edit(dev, bus, 7)
    (dev.folder / "prices.py").write_text("PRICE = 1 / 0\n")
    said = dev.says("the edit is not used")
    assert f'"{dev.folder}/prices.py", line 1' in said
    assert "ZeroDivisionError: division by zero" in said
    assert "importlib" not in said
    assert await price(bus) == 7
    await edit(dev, bus, 8)


async def test_a_service_that_cannot_start_leaves_the_former_workers_until_it_is_mended(dev, bus):
    await edit(dev, bus, 9)
    stops = SHOP + "\n@shop.on_start\nasync def start(info):\n    raise RuntimeError('no database')\n"
    (dev.folder / "shop.py").write_text(stops)
    dev.says("no database")
    assert await price(bus) == 9
    (dev.folder / "shop.py").write_text(SHOP)
    await edit(dev, bus, 10)


async def test_the_configuration_is_read_again_and_its_errors_are_shown(dev, bus):
    (dev.folder / "headway.yaml").write_text(CONFIG.replace("clock:clock}", "clock:clock, sclae: 1}"))
    dev.says("unknown key 'sclae', did you mean 'scale'?")
    (dev.folder / "headway.yaml").write_text(CONFIG.replace("clock:clock}", "clock:clock, workers: 2}"))
    eventually(lambda: next(r for r in dev.json("status", "--json")["rows"] if r["service"] == "clock")["workers"] == 2)


def test_the_console_is_offered_and_services_have_their_own_colours(dev):
    said = dev.says("console: http://127.0.0.1:")
    assert "\x1b[2mscaler" in said
    shop, clock = (
        eventually(lambda name=name: re.search(rf"\x1b(\S+){name}-v1 ", dev.said))[1] for name in ("shop", "clock")
    )
    assert shop != clock


def test_ctrl_c_ends_everything(dev):
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(40) == 0, dev.said
    left = [pid for pid in dev.workers().values() if _runs(pid)]
    assert not left


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
