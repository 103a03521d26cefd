"""`docker`, as the commands of the docs call it: podman takes its place."""

import os
import sys
from pathlib import Path

from tests.containers.engine import run
from tests.containers.group import Group
from tests.containers.images import PLANT, build_plant


def main() -> None:
    here = Path.cwd()
    group = Group(here, os.environ["PROJECT"])
    match sys.argv[1:]:
        case ["build", "--target", "plant", "-t", "darkroom:local", "."] | ["compose", "build"]:
            build_plant(here)
        case ["run", *rest]:
            podman("run", *(PLANT if word == "darkroom:local" else word for word in rest))
        case ["compose", "up", "-d"]:
            group.bring_up()
        case ["compose", "up", "-d", "--wait", *services]:
            group.up(*services)
            group.wait_healthy(*services)
        case ["compose", "run", *rest]:
            group.become("run", *rest)
        case ["compose", "-f", file, "stop"]:
            group.stop(file)
        case ["compose", "down"]:
            group.down()
        case ["compose", "ps"]:
            print(run(["podman", "ps", "-a"]))
        case ["compose", "exec", "-T", service, *command] | ["compose", "exec", service, *command]:
            podman("exec", "-i", group.container(service), *command)
        case words:
            raise SystemExit(
                f"the docs say `docker {' '.join(words)}`, and nobody knows how podman does that"
            )


def podman(*words: str) -> None:
    """Input and output are the caller's, which may be a dump."""
    os.execvp("podman", ["podman", *words])


if __name__ == "__main__":
    main()
