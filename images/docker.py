"""A Docker image of an image: the worker image with what the service needs, and the service's frozen source.

It is found by a label with the digest, not by its name: names move.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Final

import aiodocker
import aiohttp
from aiodocker.exceptions import DockerError

from headway.images import image
from headway.images.errors import BuildFailed
from headway.images.image import Manifest

BASE: Final = "headway-worker"
"""Target `worker` of the Dockerfile."""
LABEL: Final = "headway.image"
BUILD_TIMEOUT: Final = aiohttp.ClientTimeout(total=900, sock_connect=5)
"""Seconds for a build: packages may have to be fetched."""
_WANTED: Final = "requirements.txt"
# What is installed in the base already needs no pip, and no network.
_DOCKERFILE: Final = """\
FROM {base}
USER 0:0
COPY {wanted} /tmp/{wanted}
RUN python3 -c "import importlib.metadata as m, sys; \\
have = {{d.name.lower().replace('_', '-') + '==' + d.version for d in m.distributions()}}; \\
sys.exit(not set(open('/tmp/{wanted}').read().split()) <= have)" || {{ \\
    python3 -m venv /tmp/pip && \\
    /tmp/pip/bin/pip --python /opt/headway/bin/python install --quiet --no-cache-dir --no-deps -r /tmp/{wanted} && \\
    rm -rf /tmp/pip; }}
COPY {folder} /images/{folder}
USER 10001:10001
"""


def name(manifest: Manifest) -> str:
    """Return the readable name of a version's Docker image."""
    return f"headway-{manifest.service}:{manifest.version}"


async def build(data_dir: Path, digest: str, *, base: str = BASE) -> str:
    """Build it on this machine's daemon; unchanged it costs a moment.

    Args:
        data_dir: where images are kept.
        digest: of the image.
        base: the worker image.

    Returns:
        the Docker image's id.

    Raises:
        NoImage, ImageChanged: if the image is not there, or not what was built.
        BuildFailed: with what Docker says.
    """
    root = image.folder(data_dir, digest)
    manifest = image.verify(root, digest)
    docker = aiodocker.Docker()
    try:
        await docker.images.build(
            fileobj=_context(root, manifest, base),
            encoding="identity",
            tag=name(manifest),
            labels={LABEL: digest},
            timeout=BUILD_TIMEOUT,
        )
        return str((await docker.images.inspect(name(manifest)))["Id"])
    except DockerError as error:
        remedy = f"see whether `docker image inspect {base}` works: docker build --target worker -t {base} ."
        raise BuildFailed(f"no Docker image of {name(manifest)}: {error.message}", remedy=remedy) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        remedy = "see whether `docker info` works"
        raise BuildFailed(f"no Docker image of {name(manifest)}: no answer: {error!r}", remedy=remedy) from error
    finally:
        await docker.close()


def _context(root: Path, manifest: Manifest, base: str) -> io.BytesIO:
    """Return the build context as a tar, without owners and times of this machine."""
    texts = {
        "Dockerfile": _DOCKERFILE.format(base=base, wanted=_WANTED, folder=root.name),
        _WANTED: "".join(f"{one}=={version}\n" for one, version in sorted(manifest.requirements.items())),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, text in texts.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
        tar.add(root, arcname=root.name, filter=_readable)
    packed.seek(0)
    return packed


def _readable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Owned by root, and readable by the user that workers run as."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    member.mode = 0o555 if member.isdir() or member.mode & 0o111 else 0o444
    return member
