"""`headway image`: immutable snapshots of versions, which workers are started from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from headway.bus.errors import ConnectionFailed, HeadwayError, UsageError
from headway.cli import examples, run
from headway.config_arguments import configuration
from headway.deployer.diff import Changes, Difference
from headway.endpoint import DEFAULT_DIR, options, require
from headway.images import image as images
from headway.images.errors import ImageChanged, NoImage
from headway.images.image import Manifest

SHORT = 12
"""Hex digits of a digest that are shown, as many as make it unique."""

_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=DEFAULT_DIR,
    show_default=True,
    help="Data directory with the images.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def image() -> None:
    """Immutable snapshots of versions: source, requirements, configuration.

    IMAGE is a service and a version, or a digest or its beginning.
    """


@image.command(
    epilog=examples(
        "headway image build services/fax --version v2",
        "headway image build services/fax --version v3 --set speed=20",
        "headway image build services/fax --version v3 --docker",
    )
)
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--version", required=True, help="The version's label; it stands for this image for good.")
@click.option("--app", help="module:variable of the service, if PATH has none or several.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The version's configuration, a JSON file.",
)
@click.option(
    "--set",
    "values",
    multiple=True,
    metavar="KEY=VALUE",
    help="One value of the configuration; VALUE is JSON, or else text.",
)
@click.option(
    "--docker", "as_docker", is_flag=True, help="Make a Docker image of it, too, for `scaler --driver docker`."
)
@_directory
@_json
def build(
    *,
    path: Path,
    version: str,
    app: str | None,
    config_file: Path | None,
    values: tuple[str, ...],
    as_docker: bool,
    directory: Path,
    as_json: bool,
) -> None:
    """Build an image of the service in the folder PATH.

    It has the folder, the local packages that its code imports, the exact versions of what is installed, and the
    configuration. The same input makes the same digest. Nothing is deployed.
    """
    from headway.images.build import build as build_

    built = build_(path, version=version, data_dir=directory, config=configuration(config_file, values), app=app)
    manifest = built.manifest
    docker = None
    if as_docker:
        import asyncio

        from headway.images import docker as docker_

        docker = asyncio.run(docker_.build(directory, built.digest))
    if as_json:
        facts = {"digest": built.digest, "existed": built.existed, **_facts(manifest)}
        click.echo(json.dumps(facts if docker is None else {**facts, "docker": docker}))
        return
    did = "unchanged" if built.existed else "built"
    click.echo(f"{did}: {manifest.service} {version}  sha256:{built.digest}")
    click.echo(
        f"  {_count(len(manifest.files), 'file')}, {_bytes(manifest.size)}; "
        f"{_count(len(manifest.requirements), 'requirement')}; {_count(len(manifest.schemas), 'handler')}"
    )
    if docker is not None:
        click.echo(f"  Docker image {docker}")


@image.command("ls", epilog=examples("headway image ls fax"))
@click.argument("service", required=False)
@_directory
@_json
def ls(*, service: str | None, directory: Path, as_json: bool) -> None:
    """List images."""
    labels = {digest: key for key, digest in images.labels(directory).items()}
    found = [(labels.get(digest), digest) for digest in images.digests(directory)]
    chosen = sorted(
        ((label or ("", ""), digest) for label, digest in found if service is None or (label or ("",))[0] == service)
    )
    if as_json:
        listed = [{"service": of, "version": version, "digest": digest} for (of, version), digest in chosen]
        click.echo(json.dumps(listed))
        return
    if not chosen:
        click.echo("no images")
        return
    table = _table("SERVICE", "VERSION", "DIGEST", "FILES", "SIZE", "PYTHON")
    for (of, version), digest in chosen:
        try:
            manifest = images.read(images.folder(directory, digest))
            facts = [str(len(manifest.files)), _bytes(manifest.size), manifest.python]
        except ImageChanged:
            facts = ["damaged", "-", "-"]
        table.add_row(of or "-", version or "-", digest[:SHORT], *facts)
    _print(table)


@image.command(epilog=examples("headway image show fax v2"))
@click.argument("name", metavar="IMAGE", nargs=-1, required=True)
@_directory
@_json
def show(*, name: tuple[str, ...], directory: Path, as_json: bool) -> None:
    """Show what an image is made of."""
    digest = pick(directory, name)
    manifest = images.read(images.folder(directory, digest))
    if as_json:
        click.echo(json.dumps({"digest": digest, **manifest.model_dump(mode="json")}))
        return
    facts = _facts(manifest)
    told = {name: facts[name] for name in ("service", "version", "app", "config", "python", "headway")}
    for key, value in {**told, "digest": digest, "source": images.folder(directory, digest) / images.SOURCE}.items():
        click.echo(f"{key:<9}{json.dumps(value) if isinstance(value, dict) else value}")
    click.echo("\nhandlers")
    for handler in manifest.schemas:
        click.echo(f"  {handler}")
    click.echo("\nrequirements")
    for requirement, version in manifest.requirements.items():
        click.echo(f"  {requirement}=={version}")
    click.echo("\nfiles")
    for path, file in manifest.files.items():
        click.echo(f"  {file.sha256[:SHORT]}  {_bytes(file.size):>9}  {path}")


@image.command(epilog=examples("headway image diff fax v1 v2"))
@click.argument("service")
@click.argument("old")
@click.argument("new")
@_directory
@_json
def diff(*, service: str, old: str, new: str, directory: Path, as_json: bool) -> None:
    """Show what version NEW of a service changes in OLD, and what it would break."""
    from headway.deployer.diff import diff as compare

    before, after = (
        images.read(images.folder(directory, images.resolve(directory, service, version))) for version in (old, new)
    )
    found = compare(before, after)
    if as_json:
        click.echo(found.model_dump_json())
    else:
        _tell(found)


@image.command(epilog=examples("headway image verify", "headway image verify fax v2"))
@click.argument("name", metavar="[IMAGE]", nargs=-1)
@_directory
@_json
def verify(*, name: tuple[str, ...], directory: Path, as_json: bool) -> None:
    """Read every byte of an image, or of all, and compare it with its digest."""
    problems: dict[str, HeadwayError] = {}
    chosen = [pick(directory, name)] if name else images.digests(directory)
    for digest in chosen:
        try:
            manifest = images.verify(images.folder(directory, digest), digest)
        except HeadwayError as error:
            problems[digest] = error
        else:
            if not as_json:
                click.echo(f"{digest[:SHORT]}  as built  {manifest.service} {manifest.version}")
    if as_json:
        click.echo(json.dumps({digest: problems[digest].message if digest in problems else "" for digest in chosen}))
    if problems:
        first = next(iter(problems.values()))
        more = f"; and {_count(len(problems) - 1, 'more image')}" if len(problems) > 1 else ""
        raise ImageChanged(f"{first.message}{more}")


@image.command("rm", epilog=examples("headway image rm fax v1"))
@click.argument("name", metavar="IMAGE", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Do it although no server can tell whether it is in use.")
@options
def rm(*, name: tuple[str, ...], force: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """Remove an image and its label, unless something may be started from it.

    Asks the server: a version that is not retired, a rollout and its rollback window keep their images, --force or not.
    """
    return run(_rm(url, creds, directory, pick(directory, name), force=force))


async def _rm(url: str | None, creds: str | None, directory: Path, digest: str, *, force: bool) -> None:
    from headway.control.store import Control
    from headway.deployer.usage import needed_for
    from headway.images import store
    from headway.images.errors import ImageInUse

    try:
        # Not any server at the default address: it may know nothing of the images here.
        async with await require(url, creds, directory).connect("image") as bus:
            control = Control(bus)
            await control.refresh()
    except (ConnectionFailed, UsageError) as error:
        if not force:
            raise ImageInUse(
                f"nobody can tell whether {digest[:SHORT]} is in use: {error.message}",
                remedy="start the server; with --force it is removed, and a version that needs it starts no worker",
            ) from error
    else:
        needed = needed_for(control, images.labels(directory), digest)
        if needed:
            raise ImageInUse(f"{digest[:SHORT]} is in use: {', '.join(needed)}")
    store.remove(directory, digest)
    click.echo(f"removed {digest[:SHORT]}")


def pick(directory: Path, name: tuple[str, ...]) -> str:
    """The digest of the image that a service and a version, or a digest or its beginning name.

    Raises:
        NoImage: if there is none, or several.
    """
    if len(name) == 2:
        return images.resolve(directory, *name)
    found = [digest for digest in images.digests(directory) if digest.startswith(name[0].removeprefix("sha256:"))]
    if len(name) != 1 or len(found) != 1:
        what = "several images begin" if len(found) > 1 else "no image begins"
        raise NoImage(f"{what} with {' '.join(name)}", remedy="name a service and a version, or a digest of `image ls`")
    return found[0]


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "service": manifest.service,
        "version": manifest.version,
        "app": manifest.app,
        "config": manifest.config,
        "python": manifest.python,
        "headway": manifest.headway,
        "files": len(manifest.files),
        "requirements": manifest.requirements,
        "handlers": list(manifest.schemas),
    }


def _tell(found: Difference) -> None:
    if found.nothing:
        click.echo("no difference but the label")
        return
    for title, changes in (
        ("program", found.program),
        ("configuration", found.config),
        ("requirements", found.requirements),
        ("files", found.files),
    ):
        if changes:
            click.echo(title)
            _print(_changes(changes, values=title != "files"))
    if found.handlers:
        click.echo("handlers")
        table = _table(*"  ")
        for name, what in found.handlers.items():
            table.add_row(f" {_MARKS[what]}", name)
        _print(table)
    for sentence in found.breaking:
        click.echo(f"breaks: {sentence}")


_MARKS = {"added": "+", "removed": "-", "changed": "~"}


def _changes(changes: Changes, *, values: bool) -> Table:
    table = _table(*"    ")
    for name, (was, now) in changes.items():
        mark = "+" if was is None else "-" if now is None else "~"
        told = f"{_told(was)} -> {_told(now)}" if values else ""
        table.add_row(f" {mark}", name, told)
    return table


def _told(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), show_header=any(map(str.strip, columns)))
    for column in columns:
        table.add_column(column.strip(), overflow="fold", justify="right" if column in {"FILES", "SIZE"} else "left")
    return table


def _print(table: Table) -> None:
    Console(highlight=False).print(table)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _bytes(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"
