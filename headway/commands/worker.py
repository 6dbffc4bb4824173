"""`headway worker`: one worker process. Needs the base install only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headway.bus.errors import UsageError
from headway.commands import options
from headway.commands.base import examples
from headway.config_arguments import configuration
from headway.endpoint import credentials


@click.command(
    epilog=examples(
        "headway worker headway.services.fax:fax --version v1 --set speed=20",
        "headway worker --image .headway/images/sha256-...",
    )
)
@click.argument("app", required=False)
@click.option(
    "--image",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run from this image, a folder sha256-<digest>; it sets everything except the server.",
)
@click.option("--version", help="The version's label.  [default: v1, or the image's]")
@click.option("--name", help="The worker's id; a random one by default.")
@options.url
@options.creds
@options.configuration
@click.option(
    "--grace",
    type=float,
    help="Seconds to finish work in progress after SIGTERM.  [default: as long as its jobs may take]",
)
def worker(
    *,
    app: str | None,
    image: Path | None,
    version: str | None,
    name: str | None,
    url: str | None,
    creds: str | None,
    config_file: Path | None,
    values: tuple[str, ...],
    grace: float | None,
) -> int:
    """Run one worker of the service APP (module:variable) until SIGTERM or Ctrl-C.

    The first signal drains: the worker takes no new work and finishes work in progress. A second signal hands
        unfinished work back at once. An image is verified first, and nothing is imported from elsewhere.
    """
    from headway.bus.worker import runner

    config = configuration(config_file, values)
    if (app is None) == (image is None):
        raise UsageError("which service?", remedy="give module:variable, or an image with --image")
    if image is not None:
        if config or version is not None:
            raise UsageError("an image has its own version and configuration", remedy="leave out --version and --set")
        creds = credentials(creds)
        creds = str(Path(creds).absolute()) if creds else None  # we are about to be elsewhere
        app, version, config = _enter(image.absolute())
    assert app is not None
    return runner.main(app, version or "v1", url=url, creds=creds, config=config, name=name, grace=grace)


def _enter(root: Path) -> tuple[str, str, dict[str, Any]]:
    """Verify an image and be a process of it; what to run, as which version, with which configuration."""
    from headway.images import image, imports, seal

    manifest = seal.verify(root, image.digest_of(root))
    try:
        imports.enter(root / image.SOURCE, manifest)
    except OSError as error:
        raise UsageError(f"cannot work in {root}: {error.strerror}", remedy="check its owner and mode") from error
    return manifest.app, manifest.version, manifest.config
