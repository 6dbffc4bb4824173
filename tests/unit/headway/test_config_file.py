"""`headway.yaml`: what is accepted, and errors that show the line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import ConfigError
from headway.config import Config, loads
from headway.yamlfile import parse

GOOD = """\
services:
  fax:
    app: services.fax:fax
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
        ("app: services.fax:fax", "app: services.fax", "headway.yaml:3:10", "module:variable"),
        ("    app: services.fax:fax\n", "", "headway.yaml:2:3", "app is missing"),
        ("fax:\n", "Fax:\n", "headway.yaml:2:3", "not a valid service"),
        ("port: 0", "port: 70000", "headway.yaml:7:9", "at most 65535"),
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
    assert "must be text" in problem(GOOD.replace("app: services.fax:fax", "app: 5"))
    assert Config.model_config["strict"]
