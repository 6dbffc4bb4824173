"""nats-py: its version, and what Headway needs of its insides (bus/nats/internals.py).

Fails on an upgrade: look through the list below in the new version, then change the number.
"""

import asyncio
import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from headway.bus.nats import internals

KNOWN = "2.16"
ROOT = Path(__file__).parents[3]


def test_the_insides_of_this_nats_py_have_been_looked_through():
    assert version("nats-py").rpartition(".")[0] == KNOWN


def test_a_connection_has_a_buffer_of_lines_its_size_and_a_queue_that_wakes_the_writer():
    nc = Client()
    assert nc._pending == []
    assert nc._pending_data_size == 0
    assert nc._flush_queue is None
    assert nc._server_info is None or nc._server_info == {}
    assert {"out_msgs", "out_bytes"} <= set(nc.stats)
    internals.write(nc, b"PUB a 0\r\n\r\n", 1)
    assert internals.buffered(nc) == 11
    assert (nc.stats["out_msgs"], nc.stats["out_bytes"]) == (1, 11)
    internals.drop_buffered(nc)
    assert internals.buffered(nc) == 0


def test_unsubscribing_takes_a_subscription_id():
    assert list(inspect.signature(Client._send_unsubscribe).parameters)[:2] == ["self", "sid"]


async def test_a_subscription_hands_each_message_to_its_queue():
    taken = []

    class Queue:
        put_nowait = taken.append

    subscription = Subscription(Client(), id=7, subject="a")
    first = Msg(Client(), "a", "", b"1", None)
    assert isinstance(subscription._pending_queue, asyncio.Queue)
    subscription._pending_queue.put_nowait(first)
    assert internals.replace_queue(subscription, Queue()) == [first]
    assert subscription._id == 7
    subscription._pending_queue.put_nowait(first)
    assert taken == [first]


async def test_a_jetstream_context_knows_its_connection():
    nc = Client()
    assert internals.connection(nc.jetstream()) is nc


def test_no_other_file_uses_what_is_private_to_another():
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "SLF001", "--output-format", "concise", "bus", "headway"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


async def test_a_message_that_is_not_utf_8_reaches_its_subscription():
    nc = internals.SturdyClient()
    message = nc._build_message(1, b"a.\xff", b"_INBOX.\xfe", b"x", None)
    assert (message.subject, message.reply, message.data) == ("a.\ufffd", "_INBOX.\ufffd", b"x")


async def test_a_header_block_that_nats_py_cannot_read_gives_no_headers():
    nc = internals.SturdyClient()
    assert await nc._process_headers(b"x") is None
    assert await nc._process_headers(b"NATS/1.0 \xff\xff\xff\r\n\r\n") is None
    assert await nc._process_headers(b"") is None


async def test_only_the_first_line_of_a_header_block_is_a_status():
    nc = internals.SturdyClient()
    assert await nc._process_headers(b"NATS/1.0 503\r\n\r\n") == {"Status": "503"}
    assert await nc._process_headers(b"NATS/1.0\r\nStatus: 503\r\n\r\n") == {"status": "503"}


def test_a_subject_ends_where_the_server_says_it_ends():
    found = internals.parser.MSG_RE.match(b"MSG a.\x0b\x0c\x1f 7 _INBOX.x 3\r\n")
    assert found is not None
    assert found.groups() == (b"a.\x0b\x0c\x1f", b"7", b"_INBOX.x ", b"_INBOX.x", b"3")
    found = internals.parser.HMSG_RE.match(b"HMSG a 7 12 15\r\n")
    assert found is not None
    assert found.groups()[-2:] == (b"12", b"15")


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z-]{1,12}", fullmatch=True).filter(lambda name: name.lower() != "status"),
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12),
        max_size=4,
    ),
    st.sampled_from(["", " ", "\t", "  "]),
)
def test_header_blocks_are_read_as_nats_py_reads_them(fields, gap):
    lines = "".join(f"{name}:{gap}{value}\r\n" for name, value in fields.items())
    block = f"NATS/1.0\r\n{lines}\r\n".encode()
    assert asyncio.run(internals.SturdyClient()._process_headers(block)) == asyncio.run(
        Client()._process_headers(block)
    )
