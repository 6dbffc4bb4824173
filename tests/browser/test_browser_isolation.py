"""A page gets its own tenant's data, whatever it tries."""

from __future__ import annotations

import json

_RAW = """async ([tenant, victim]) => {
  const body = JSON.stringify({tenant, user: 'mallory'});
  const headers = {'Content-Type': 'application/json'};
  const {token} = await (await fetch('/dev/token', {method: 'POST', headers, body})).json();
  const asked = await fetch('/session', {method: 'POST', headers: {Authorization: `Bearer ${token}`}});
  const {jwt, url, inbox} = await asked.json();
  const socket = new WebSocket(url);
  const decoder = new TextDecoder();
  socket.binaryType = 'arraybuffer';
  window.heard = '';
  socket.onmessage = ({data}) => { heard += decoder.decode(data); };
  await new Promise((resolve) => { socket.onopen = resolve; });
  window.say = (text) => socket.send(text);
  const connect = JSON.stringify({jwt, headers: true, no_responders: true, protocol: 1, verbose: false});
  say(`CONNECT ${connect}\\r\\nPING\\r\\n`);
  return inbox;
}"""

_SUBJECTS = (
    "live.globex.>",
    "live.globex.note.a",
    "live.>",
    "live.*.note.*",
    ">",
    "obj.globex.>",
    "$SYS.>",
    "_INBOX.>",
    "sync.globex.pull",
    "event.globex.>",
    "$JS.API.>",
)


async def test_by_raw_websocket_the_server_refuses_every_way_to_another_tenant(site, acme, bus):
    globex = bus.tenant("globex")
    await globex.objects.put("note", "a", {"text": "a secret of globex"})
    tab = await site.tab()
    inbox = await tab.run(_RAW, ["acme", "globex"])
    await tab.until("heard.includes('PONG')")
    for number, subject in enumerate(_SUBJECTS, 1):
        await tab.run("say", f"SUB {subject} {number}\r\n")
    pull = json.dumps({"types": None, "since": 0, "epoch": None, "limit": 10})
    forbidden = (
        "sync.globex.pull",
        "obj.globex.note.a",
        "live.globex.note.a",
        "live.acme.note.a",
        "obj.acme.note.a",
        "rpc.calls.globex.route",
        "sync.globex.submit.fax.send",
        "job.fax.globex.send",
        "job.fax.acme.send",
        "$JS.API.DIRECT.GET.OBJECTS.obj.globex.note.a",
        "$JS.API.STREAM.MSG.GET.OBJECTS",
    )
    for subject in forbidden:
        await tab.run("say", f"PUB {subject} {inbox}.x {len(pull)}\r\n{pull}\r\n")
    await tab.run("say", f"SUB live.acme.> 90\r\nSUB {inbox}.> 91\r\nPING\r\n")
    await tab.until("heard.split('PONG').length === 3")
    await globex.objects.put("note", "a", {"text": "another secret of globex"})
    await acme.objects.put("note", "mine", {"text": "of acme"})
    await tab.until("heard.includes('of acme')")
    heard = await tab.run("heard")
    assert "secret" not in heard
    for subject in _SUBJECTS:
        assert f'Permissions Violation for Subscription to "{subject}"' in heard, subject
    for subject in forbidden:
        assert f'Permissions Violation for Publish to "{subject}"' in heard, subject


async def test_two_tenants_in_one_page_and_one_browser_share_nothing(site, acme, bus):
    context = await site.context()
    mine, theirs = await site.tab(context), await site.tab(context)
    await mine.open("note")
    await theirs.open("note", tenant="globex", user="grace")
    for tenant in ("acme", "globex"):
        await bus.tenant(tenant).objects.put("note", "a", {"of": tenant})
    await mine.until("store.get('note', 'a')")
    await theirs.until("store.get('note', 'a')")
    assert await mine.run("store.get('note', 'a').of") == "acme"
    assert await theirs.run("store.get('note', 'a').of") == "globex"
    assert [await tab.run("store.stats().role") for tab in (mine, theirs)] == ["leader", "leader"]
