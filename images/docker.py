"""Build a Docker image from an image: the worker image with the service's requirements and frozen source.

It is identified by a label with the digest, not by its name, because names can move.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Final

import aiodocker
import aiohttp
from aiodocker.exceptions import DockerError

from headway.images import image, seal
from headway.images.errors import BuildFailed
from headway.images.image import Manifest

BASE: Final = "headway-worker"
"""Name of the Docker image built from target `worker` of the Dockerfile."""
LABEL: Final = "headway.image"
BUILD_TIMEOUT: Final = aiohttp.ClientTimeout(total=900, sock_connect=5)
"""Seconds for a build, which may have to download packages."""
_WANTED: Final = "requirements.txt"
# If the base image already has all requirements, neither pip nor network is needed.
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
COPY {attestations} /images/{attestations}
USER 10001:10001
"""


def name(manifest: Manifest) -> str:
    """Return the readable name of a version's Docker image."""
    return f"headway-{manifest.service}:{manifest.version}"


async def build(data_dir: Path, digest: str, *, base: str = BASE) -> str:
    """Build a Docker image on this machine's daemon. An unchanged one is fast, from Docker's cache.

    Args:
        data_dir: the data directory with the images.
        digest: digest of the image.
        base: the worker image.

    Returns:
        the Docker image's id.

    Raises:
        NoImage, ImageChanged: if the image does not exist, or was changed since it was built.
        NotSigned: if no trusted key has signed it.
        BuildFailed: if Docker fails; with its message.
    """
    root = image.folder(data_dir, digest)
    manifest = seal.verify(root, digest)
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
        remedy = f"if `docker image inspect {base}` fails, run `docker build --target worker -t {base} .`"
        raise BuildFailed(f"cannot build Docker image {name(manifest)}: {error.message}", remedy=remedy) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        remedy = "check that `docker info` works"
        raise BuildFailed(f"cannot build Docker image {name(manifest)}: no answer: {error!r}", remedy=remedy) from error
    finally:
        await docker.close()


def _context(root: Path, manifest: Manifest, base: str) -> io.BytesIO:
    """Return the build context as a tar file without this machine's owners and times."""
    texts = {
        "Dockerfile": _DOCKERFILE.format(base=base, wanted=_WANTED, folder=root.name, attestations=seal.ATTESTATIONS),
        _WANTED: "".join(f"{one}=={version}\n" for one, version in sorted(manifest.requirements.items())),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, text in texts.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
        tar.add(root, arcname=root.name, filter=_readable)
        statement = seal.statement_path(root.parent, manifest.digest)
        tar.add(statement, arcname=f"{seal.ATTESTATIONS}/{statement.name}", filter=_readable)
    packed.seek(0)
    return packed


def _readable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make a file owned by root and readable by the workers' user."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    member.mode = 0o555 if member.isdir() or member.mode & 0o111 else 0o444
    return member
