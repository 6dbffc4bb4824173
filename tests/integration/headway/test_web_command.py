"""`headway web`, run as a user runs it: it says where it is, goes on when the server dies, and ends when told to."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import httpx
import pytest

from tests.support.headway_process import FREE, PATIENCE, environment, eventually, headway


@pytest.fixture
def web(up):
    """Start `headway web` beside the fixture `up`: its URL and its process."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str, folder=up.folder) -> tuple[str, subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "headway", "web", "--port", "0", *arguments],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"ready: client sync at (http://\S+), pages connect to (ws://\S+)", line)
        assert found, line
        return found[1], process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def session(url: str) -> httpx.Response:
    token = httpx.post(f"{url}/dev/token", json={"tenant": "acme", "user": "ada"}).json()["token"]
    return httpx.post(f"{url}/session", headers={"Authorization": f"Bearer {token}"})


def test_it_opens_sessions_and_ends_on_sigterm_in_order(web, up):
    url, process = web("--dev-issuer")
    assert session(url).json()["url"] == up.json_of("running.json")["ws_url"]
    assert httpx.get(f"{url}/health").json()["ok"] is True
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert said.strip().endswith("stopped")
    assert "Traceback" not in said


def test_the_console_is_where_it_is_served_also_for_a_shell_that_has_evaluated_headway_env(web, up):
    url, process = web("--dev-issuer")
    running = up.json_of("running.json")
    exported = {"HEADWAY_NATS_URL": running["url"], "HEADWAY_NATS_CREDS": running["creds"]}
    assert up.run("console", **exported).stdout.startswith(f"{url}/console/#code=")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    refused = up.run("console")
    assert refused.returncode == 2
    assert "nothing serves pages" in refused.stderr
    assert "--web-url" in refused.stderr


def test_it_goes_on_when_the_server_has_died_and_is_back(web, fresh):
    site = fresh("app:hello", *FREE)
    site.says("ready:")
    url, process = web("--dev-issuer", folder=site.folder)
    (server,) = {int(line) for line in servers(site)}
    subprocess.run(["kill", "-9", str(server)], check=True)
    site.says("starting it again")

    def follows() -> bool:
        site.run("submit", "hello", "letter", '{"name": "Ada"}', "--tenant", "acme")
        health = httpx.get(f"{url}/health").json()
        return health["connected"] and health["position"] > 0

    eventually(follows)
    assert session(url).status_code == 200
    assert process.poll() is None


def servers(site) -> list[str]:
    """The process of the site's nats-server."""
    listing = ["ps", "-o", "pid=,comm=", "--ppid", str(site.process.pid)]
    found = subprocess.run(listing, capture_output=True, text=True, check=True)
    return [line.split()[0] for line in found.stdout.splitlines() if "nats-server" in line]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 78, "no issuer of tokens is configured"),
        (("--dev-issuer", "--host", "0.0.0.0"), 78, "lets anybody sign in"),
        (("--issuer", "https://login.example.com"), 2, "go together"),
        (("--dev-issuer", "--allow-origin", "*"), 78, "not an origin"),
        (("--dev-issuer", "--ws-url", "nonsense"), 78, "not a websocket URL"),
        (("--issuer", "http://login.example.com", "--audience", "a"), 78, "only fetched over TLS"),
    ],
)
def test_what_cannot_work_is_one_line_with_a_remedy(up, arguments, code, says):
    done = up.run("web", "--port", "0", *arguments)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert done.stderr.startswith("error: ")


def test_without_a_server_it_says_what_is_missing(tmp_path):
    done = headway(tmp_path, "web", "--dev-issuer")
    assert done.returncode == 2
    assert "--ws-url" in done.stderr


def test_a_port_that_is_taken_is_named(web, up):
    url, _ = web("--dev-issuer")
    done = up.run("web", "--dev-issuer", "--port", url.rsplit(":", 1)[1])
    assert (done.returncode, "cannot listen on" in done.stderr) == (11, True), done.stderr


def test_the_console_is_opened_by_an_address_that_is_good_once(web, up):
    url, _ = web("--dev-issuer")
    assert "<title>Headway console</title>" in httpx.get(f"{url}/console/").text
    printed = up.run("console", "--web-url", url, "--name", "ada").stdout.strip()
    address, _, code = printed.partition("#code=")
    assert address == f"{url}/console/"
    told = httpx.post(f"{url}/console/sign-in", json={"code": code})
    opened = httpx.post(f"{url}/console/session", headers={"Authorization": f"Bearer {told.json()['token']}"})
    assert (opened.json()["tenant"], opened.json()["user"]) == ("headway", "ada")
    assert httpx.post(f"{url}/console/sign-in", json={"code": code}).status_code == 401


def test_without_the_console_there_is_none(web):
    url, _ = web("--dev-issuer", "--no-console")
    assert httpx.post(f"{url}/console/sign-in", json={"code": "x"}).status_code in {404, 405}


def test_the_landing_page_shows_the_services_that_run_and_how_to_call_them(web, up):
    url, _ = web("--dev-issuer")
    page = httpx.get(url)
    assert page.status_code == 200
    assert "Headway: services" in page.text
    assert "demo" not in page.text.lower()
    [hello] = eventually(lambda: _with_workers(url))
    assert (hello["name"], hello["running"], hello["description"]) == ("hello", True, "Says hello.")
    [version] = hello["versions"]
    assert (version["weight"], version["workers"]) == (100, 2)
    greet = next(one for one in hello["operations"] if one["name"] == "greet")
    assert (greet["kind"], greet["example"]) == ("rpc", {"name": "..."})
    assert up.run("call", "hello", "greet", '{"name": "..."}', "--tenant", "acme").returncode == 0


def _with_workers(url: str):
    services = httpx.get(f"{url}/headway/services").json()["services"]
    return services if services and services[0]["versions"][0]["workers"] else None


def test_with_an_issuer_of_ones_own_the_landing_page_does_not_say_what_runs(web):
    url, _ = web("--issuer", "https://login.example.com/", "--audience", "sync")
    assert httpx.get(url).status_code == 200
    assert httpx.get(f"{url}/headway/services").status_code == 404


def test_pages_of_ones_own_come_first_and_find_the_client(web, tmp_path):
    (tmp_path / "index.html").write_text("<title>mine</title>")
    url, _ = web("--dev-issuer", "--pages", str(tmp_path))
    assert "mine" in httpx.get(url).text
    assert "openStore" in httpx.get(f"{url}/client/index.js").text
    assert httpx.get(f"{url}/console/").status_code == 200
