"""Prove the containers where there is neither Docker nor a registry: `make prove-containers`, as root.

Builds the image of what is committed and runs the compose files with podman, runc and podman-compose, by the
commands of docs/how-to/containers.md where it has some. Stand-ins take the place of the base images: Debian
by debootstrap, PostgreSQL and Valkey from the wheels, moto for the S3 server. So what is not proven here: the
official images themselves, Docker, and the reservation of GPUs.

Without names all steps run, but `gpu`, which downloads some gigabytes. Each also runs alone:
make prove-containers ARGS="--keep crashes" leaves the plant as it is for the next.
"""

import argparse
import os
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.containers import one_machine, two_hosts
from tests.containers.engine import CONFIGURATION, proven, say
from tests.containers.images import GPU, PLANT, build_plant, build_standins, check_gpu, check_plant
from tests.containers.one_machine import Machine
from tests.containers.source import EARLIER, check_out, snapshot

from darkroom.errors import DarkroomError


def images(machine: Machine) -> None:
    """Those that the commands of the page then find in the cache."""
    scratch = machine.folder / "images"
    scratch.mkdir(exist_ok=True)
    build_standins(scratch)
    origin = snapshot(machine.folder)
    for commit in (EARLIER, "HEAD"):
        check_out(origin, scratch / "source", commit)
        build_plant(scratch / "source")
    check_plant()


def gpu(machine: Machine) -> None:
    source = machine.folder / "images/source"
    check_out(machine.origin(), source)
    build_plant(source, PLANT)
    build_plant(source, GPU, "gpu")
    check_gpu()


STEPS: dict[str, Callable[[Machine], None]] = {
    "images": images,
    "env": one_machine.env,
    "upgrade": one_machine.upgrade,
    "start": one_machine.start,
    "crashes": one_machine.crashes,
    "again": one_machine.again,
    "git": one_machine.git,
    "backup": one_machine.backup,
    "hosts": two_hosts.hosts,
}
MORE = {"gpu": gpu}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/darkroom-containers"))
    parser.add_argument("--keep", action="store_true", help="leave the plant up")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{', '.join(STEPS | MORE)}")
    chosen = parser.parse_args()
    if unknown := set(chosen.steps) - set(STEPS | MORE):
        parser.error(f"there is no step {', '.join(unknown)}")
    folder = chosen.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "containers.conf").write_text(CONFIGURATION)
    os.environ["CONTAINERS_CONF"] = str(folder / "containers.conf")
    machine, failed = Machine(folder), []
    try:
        for name in chosen.steps or STEPS:
            say(f"step {name}")
            try:
                (STEPS | MORE)[name](machine)
            except (AssertionError, DarkroomError, OSError, SystemExit):
                traceback.print_exc()
                failed.append(name)
                if not chosen.keep:
                    machine.end()  # the next begins anew
    finally:
        if not chosen.keep:
            machine.end()
        print("\nProven:", *proven, sep="\n* ", flush=True)
    if failed:
        raise SystemExit(f"steps that failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
