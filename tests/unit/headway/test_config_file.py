"""`headway.yaml`: what is accepted, and errors that show the line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.errors import ConfigError
from headway.config import Config, loads
from headway.control.records import Scale
from headway.yamlfile import parse

GOOD = """\
services:
  fax:
    app: headway.services.fax:fax
    workers: 2
    config: {speed: 10}
server:
  port: 0
"""


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loads(text)
    return str(caught.value)


def test_what_is_left_out_has_its_default():
    config = loads(GOOD)
    assert config.services["fax"].version == "v1"
    assert config.services["fax"].config == {"speed": 10}
    assert config.server.store == ".headway"


def test_the_grace_of_a_service_is_its_own_or_else_as_long_as_its_jobs_may_take():
    assert loads(GOOD).services["fax"].grace is None
    assert loads(GOOD.replace("workers: 2", "grace: 5m")).services["fax"].grace == 300
    assert "services.fax.grace" in problem(GOOD.replace("workers: 2", "grace: soon"))


def test_durability_is_how_often_the_server_forces_what_it_stored_to_disk():
    assert loads(GOOD).server.sync_interval == "2m"
    assert loads(GOOD).server.replicas is None
    strict = loads(GOOD.replace("port: 0", "durability: strict\n  replicas: 3")).server
    assert (strict.sync_interval, strict.replicas) == ("always", 3)


def test_proxies_are_addresses_or_networks_that_headway_web_is_told():
    behind = GOOD + "web:\n  dev_issuer: true\n  proxies: [10.0.0.7, 10.1.0.0/16, '::1']\n"
    web, alone = loads(behind).web, loads(GOOD + "web:\n  dev_issuer: true\n").web
    assert web is not None
    assert alone is not None
    told = web.arguments()
    assert told[told.index("--proxies") + 1] == "10.0.0.7,10.1.0.0/16,::1"
    assert "--proxies" not in alone.arguments()
    assert "is not an address or a network" in problem(behind.replace("10.0.0.7", "proxy.example"))


def test_the_file_of_the_repository_is_valid_and_runs_the_three_services(request):
    text = (request.config.rootpath / "headway.yaml").read_text()
    assert set(loads(text).services) == {"calls", "fax", "voicemail"}


@pytest.mark.parametrize(
    ("before", "after", "place", "says"),
    [
        ("workers: 2", "wokers: 2", "headway.yaml:4:5", "did you mean 'workers'"),
        ("workers: 2", "workers: two", "headway.yaml:4:14", "whole number, not 'two'"),
        ("workers: 2", "workers: -1", "headway.yaml:4:14", "at least 0"),
        ("workers: 2", "workers: 1000", "headway.yaml:4:14", "at most 256"),
        ("app: headway.services.fax:fax", "app: services.fax", "headway.yaml:3:10", "module:variable"),
        ("    app: headway.services.fax:fax\n", "", "headway.yaml:2:3", "app is missing"),
        ("fax:\n", "Fax:\n", "headway.yaml:2:3", "not a valid service"),
        ("port: 0", "port: 70000", "headway.yaml:7:9", "at most 65535"),
        ("port: 0", "durability: sure", "headway.yaml:7:15", "must be one of 'fast' or 'strict', not 'sure'"),
        ("port: 0", "replicas: 0", "headway.yaml:7:13", "at least 1"),
        ("server:", "sever:", "headway.yaml:6:1", "did you mean 'server'"),
        ("    workers: 2\n", "    workers: 2\n    workers: 3\n", "headway.yaml:5:5", "twice, first in line 4"),
        ("server:", "server: [", "headway.yaml:8:", "not YAML"),
        ("{speed: 10}", "fast", "headway.yaml:5:13", "must be a mapping"),
    ],
)
def test_an_error_points_at_its_line_and_says_what_to_do(before, after, place, says):
    text = problem(GOOD.replace(before, after, 1))
    assert place in text
    assert says in text


def test_all_errors_are_shown_at_once_in_the_order_of_the_file():
    text = problem(GOOD.replace("workers: 2", "workers: x").replace("port: 0", "port: y"))
    assert text.index(":4:") < text.index(":7:")


@pytest.mark.parametrize(
    ("scale", "place", "says"),
    [
        ("{maxx: 5}", "headway.yaml:4:13", "did you mean 'max'"),
        ("{lag: {drain_withn: 5}}", "headway.yaml:4:19", "did you mean 'drain_within'"),
        ("{lag: {drain_within: soon}}", "headway.yaml:4:33", "write 50ms, 10s, 5m"),
        ("{min: 3, max: 2}", "headway.yaml:4:12", "min 3 is more than max 2"),
        ("{latency: {}}", "headway.yaml:4:22", "give mean, p95 or both"),
        ("{floors: [{start: x, end: 0 18 * * *, workers: 3}]}", "headway.yaml:4:30", "'x' is not a time"),
        ("{floors: [{start: 0 8 * * *, end: 0 9 * * *, workers: 3, timezone: X}]}", "headway.yaml:4:", "no timezone"),
    ],
)
def test_an_error_in_a_policy_points_at_its_place_too(scale, place, says):
    text = problem(f"services:\n  fax:\n    app: headway.services.fax:fax\n    scale: {scale}\n")
    assert place in text
    assert says in text


def test_workers_are_a_fixed_number_or_follow_the_load():
    assert loads(GOOD).services["fax"].scaling == Scale.fixed(2)
    assert loads(GOOD.replace("    workers: 2\n", "")).services["fax"].scaling == Scale()
    assert loads(GOOD.replace("workers: 2", "scale: {max: 3}")).services["fax"].scaling == Scale(max=3)
    assert "give one of them" in problem(GOOD.replace("workers: 2", "workers: 2\n    scale: {max: 3}"))


def test_pages_need_somebody_to_believe_and_a_way_to_the_server():
    assert "issuer and audience go together" in problem(GOOD + "web: {issuer: https://login.example.com}\n")
    assert "dev_issuer: true" in problem(GOOD + "web: {port: 0}\n")
    closed = GOOD.replace("port: 0", "websocket_port: null")
    assert "browsers cannot reach the server" in problem(closed + "web: {dev_issuer: true}\n")
    assert loads(closed + "web: {dev_issuer: true, ws_url: 'wss://bus.example.com'}\n").web


def test_a_file_without_services_says_so():
    assert "services" in problem("server:\n  port: 0\n")
    assert "at least one" in problem("services: {}\n")
    assert "services" in problem("")


keys = st.from_regex(r"k[a-z]{1,8}", fullmatch=True)


@given(st.dictionaries(keys, st.dictionaries(keys, st.integers() | st.booleans(), max_size=4), max_size=5))
def test_every_value_knows_the_line_it_stands_in(content):
    lines, places = [], {}
    for key, inner in content.items():
        places[(key,)] = len(lines) + 1
        lines.append(f"{key}:{' {}' if not inner else ''}")
        for name, value in inner.items():
            places[key, name] = len(lines) + 1
            lines.append(f"  {name}: {str(value).lower()}")
    document = parse("x.yaml", "\n".join(lines) or "{}")
    if content:
        assert document.value == content
    for path, line in places.items():
        assert document.keys[path].line == line


@given(st.text())
def test_no_text_breaks_the_reader_other_than_by_a_configuration_error(text):
    try:
        loads(text)
    except ConfigError:
        return


def test_values_are_not_bent_into_other_types():
    assert "must be text" in problem(GOOD.replace("app: headway.services.fax:fax", "app: 5"))
    assert Config.model_config["strict"]


def test_environments_are_directories_with_or_without_a_server_of_their_own():
    text = GOOD + "environments:\n  staging: {dir: .headway}\n  prod: {dir: prod, url: nats://n:4222}\n"
    found = loads(text).environments
    assert (found["staging"].dir, found["staging"].url) == (".headway", None)
    assert found["prod"].url == "nats://n:4222"
    assert "environments.prod.dir is missing" in problem(text.replace("dir: prod, ", ""))
    assert "did you mean 'creds'" in problem(text.replace("url:", "cred:"))
    assert "is not a valid environment" in problem(text.replace("prod:", "Prod!:"))
