"""`headway init`: create keys, and the configuration of servers that run elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from headway.bus.errors import UsageError
from headway.bus.wire import subjects
from headway.commands import options
from headway.commands.base import examples

if TYPE_CHECKING:
    from headway.broker.nodes import Node


@click.command(
    epilog=examples(
        "headway init --node nats                                  # one server",
        "headway init --node n1=east --node n2=west --node n3=south --out /nodes --home /node",
    )
)
@options.directory
@click.option(
    "--node",
    "names",
    multiple=True,
    metavar="NAME[=ZONE]",
    help="A server, by its host name. Several servers form one cluster.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Parent of each server's directory.  [default: DIR/nodes]")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Path of the directory on the server.  [default: where it is created]",
)
@click.option(
    "--durability",
    type=click.Choice(["fast", "strict"]),
    default="fast",
    show_default=True,
    help="strict: synced to disk before an acknowledgement.",
)
@click.option(
    "--websocket-compression",
    "compression",
    is_flag=True,
    help="Compress messages to browsers: fewer bytes, three times the memory per connection.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="An origin whose pages may connect, such as https://app.example.com. Can be repeated.  [default: any]",
)
def init(
    *,
    directory: Path,
    names: tuple[str, ...],
    out: Path | None,
    home: Path | None,
    durability: Literal["fast", "strict"],
    compression: bool,
    origins: tuple[str, ...],
) -> int:
    """Create the keys of an installation, credentials, and the configuration of its servers.

    For servers that run elsewhere, such as in containers or under systemd. `nats-server -c <out>/<name>/server.json`
    starts one; several servers connect over TLS. Existing files are kept.
    """
    from headway.broker.identity import Identities
    from headway.broker.nodes import write
    from headway.broker.upgrade import upgrade
    from headway.config import ServerConfig

    nodes = [_node(text) for text in names]
    if len({node.name for node in nodes}) < len(nodes):
        raise UsageError("two servers have the same name", remedy="give each server its own name")
    if home is not None and not nodes:
        raise UsageError("--home needs servers", remedy="add them with --node")
    if notice := upgrade(directory):
        click.echo(notice, err=True)
    identities = Identities.create_or_load(directory)
    operator = directory / "creds" / "operator.creds"
    if not operator.exists():
        identities.creds_file("operator")
    click.echo(f"keys: {directory}, the operator's credentials: {operator}")
    interval = ServerConfig(durability=durability).sync_interval
    where = out or directory / "nodes"
    for file in write(
        identities,
        directory / "tls",
        nodes,
        where,
        home=home,
        sync_interval=interval,
        compression=compression,
        origins=origins,
    ):
        click.echo(f"server: {file}")
    return 0


def _node(text: str) -> Node:
    from headway.broker.nodes import Node

    name, equals, zone = text.partition("=")
    return Node(subjects.token(name, "node"), subjects.token(zone, "zone") if equals else None)
