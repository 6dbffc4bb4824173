"""Runs in a container before the workers of a launch: checks that its service exists and accepts its configuration.

python3 -m headway.scaler.drivers.docker.probe /run/headway/launch.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from headway.bus.errors import HeadwayError
from headway.bus.worker import runner
from headway.images import image, imports, seal


def main(file: str) -> int:
    """Run the check; errors go to stderr."""
    launch = json.loads(Path(file).read_text(encoding="utf-8"))
    try:
        if launch["image"] is not None:
            root = Path(launch["image"])
            imports.enter(root / image.SOURCE, seal.verify(root, image.digest_of(root)))
        service = runner.load(launch["app"])
        if service.name != launch["service"]:
            sys.stderr.write(f"{launch['app']} is service {service.name!r}, not {launch['service']!r}\n")
            return 1
        service.configure(launch["config"])
    except HeadwayError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
