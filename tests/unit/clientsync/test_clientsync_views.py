"""The cache of views has bounds: of views, of a tenant's views, and of objects."""

from __future__ import annotations

from types import SimpleNamespace

from headway.clientsync import views
from headway.clientsync.views import Views


class Empty:
    async def page(self, *_args, **_options):
        return SimpleNamespace(messages=[], more=False)


async def ask(cache: Views, tenant: str, type_: str):
    return await cache.of(tenant, [type_], None)


async def test_a_tenants_least_recent_view_makes_way_for_its_next_one(monkeypatch):
    monkeypatch.setattr(views, "_BUILDS", (1e9, 1e9))
    cache = Views(Empty(), most_of_a_tenant=3)
    [kept] = await ask(cache, "other", "fax")
    for n in range(50):
        await ask(cache, "acme", f"t{n}")
    assert len(cache) == 4
    assert await ask(cache, "other", "fax") == [kept]


async def test_all_tenants_together_have_a_bound(monkeypatch):
    monkeypatch.setattr(views, "_BUILDS", (1e9, 1e9))
    cache = Views(Empty(), most=10)
    for n in range(50):
        await ask(cache, f"t{n}", "fax")
    assert len(cache) == 10
    assert len(cache._of) == 10
