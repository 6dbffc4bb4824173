"""The log of a failed start becomes one clear error."""

from __future__ import annotations

import pytest

from headway.broker import startlog
from headway.broker.errors import BrokerError, NotReady, PortInUse, ServerDied, StoreCorrupt


def line(level: str, text: str) -> str:
    return f"[17] 2026/11/24 12:39:13.136274 [{level}] {text}\n"


@pytest.mark.parametrize(
    ("log", "kind", "said"),
    [
        (
            line(
                "FTL",
                "Error listening on port: 127.0.0.1:4222, listen tcp 127.0.0.1:4222: bind: address already in use",
            ),
            PortInUse,
            "127.0.0.1:4222 is in use",
        ),
        (line("FTL", "listen tcp 127.0.0.1:80: bind: permission denied"), PortInUse, "permission denied"),
        (line("FTL", "Can't start JetStream: storage directory is not a directory"), StoreCorrupt, "not a directory"),
        ("nats-server: server.json:3:1: parse error\n", ServerDied, "parse error"),
        ("", ServerDied, "status 1: it wrote nothing"),
    ],
)
def test_last_words_tell_the_cause(log: str, kind: type[BrokerError], said: str) -> None:
    error = startlog.cause_of_death(line("INF", "Starting nats-server") * bool(log) + log, "/data", 1)
    assert type(error) is kind
    assert said in str(error)
    assert error.remedy


def test_a_damaged_stream_description_is_damage() -> None:
    log = line("WRN", '  Stream metafile "/d/EVENTS/meta.inf": checksums do not match "00" vs "73"')
    assert startlog.corruption(log) == 'Stream metafile "/d/EVENTS/meta.inf": checksums do not match "00" vs "73"'


@pytest.mark.parametrize(
    "text",
    [
        "Filestore [EVENTS] Stream state checksum did not match",
        "Filestore [EVENTS] Stream state outdated, last block has additional entries, will rebuild",
        "Websocket not configured with TLS. DO NOT USE IN PRODUCTION!",
    ],
)
def test_the_usual_repair_after_a_crash_is_not_damage(text: str) -> None:
    assert startlog.corruption(line("WRN", text)) is None


def test_a_server_that_is_too_slow_is_not_ready() -> None:
    assert isinstance(startlog.too_late(line("INF", "Restoring"), 3), NotReady)
