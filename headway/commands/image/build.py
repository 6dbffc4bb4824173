"""`headway image build`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headway.commands import options
from headway.commands.base import examples, json_option
from headway.commands.image.shared import facts, size
from headway.config_arguments import configuration
from headway.format import counted


@click.command(
    epilog=examples(
        "headway image build services/fax --version v2",
        "headway image build services/fax --version v3 --set speed=20",
        "headway image build services/fax --version v3 --docker",
    )
)
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--version", required=True, help="The version's label; it names this image for ever.")
@click.option("--app", help="module:variable of the service, if PATH has none or several.")
@options.configuration
@click.option("--docker", "as_docker", is_flag=True, help="Also build a Docker image, for `scaler --driver docker`.")
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sign with this key, from `headway image keys --new`.  [default: the environment's own]",
)
@options.directory
@json_option
def build(
    *,
    path: Path,
    version: str,
    app: str | None,
    config_file: Path | None,
    values: tuple[str, ...],
    as_docker: bool,
    key: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """Build an image of the service in the folder PATH.

    The image contains the folder, the local packages that its code imports, the exact versions of installed packages,
    and the configuration. The same input gives the same digest. It is signed, with its provenance and a bill of
    materials (CycloneDX). Nothing is deployed.
    """
    from headway.images.build import build as build_
    from headway.images.seal import Sealer

    sealer = None if key is None else Sealer.load(key)
    config = configuration(config_file, values)
    built = build_(path, version=version, data_dir=directory, config=config, app=app, sealer=sealer)
    manifest = built.manifest
    docker = None
    if as_docker:
        import asyncio

        from headway.images import docker as docker_

        docker = asyncio.run(docker_.build(directory, built.digest))
    if as_json:
        told = {"digest": built.digest, "existed": built.existed, **facts(manifest)}
        click.echo(json.dumps(told if docker is None else {**told, "docker": docker}))
        return
    did = "unchanged" if built.existed else "built"
    click.echo(f"{did}: {manifest.service} {version}  sha256:{built.digest}")
    click.echo(
        f"  {counted(len(manifest.files), 'file')}, {size(manifest.size)}; "
        f"{counted(len(manifest.requirements), 'requirement')}; {counted(len(manifest.schemas), 'handler')}"
    )
    if docker is not None:
        click.echo(f"  Docker image {docker}")
