"""A plant of its own for a measurement: `bench/fleet` in a temporary folder, gone afterwards, come what may.

What measures runs as a process of its own, as the stage table of a process is fixed at its import.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
FLEET = REPOSITORY / "bench" / "fleet"
_DOWN_S = 180
_LOAD_S = 120
_RESULT = "result.json"


def in_a_plant(
    module: str, *arguments: str, generate: Mapping[str, Any], deadline_s: float,
    inspect: Mapping[str, Any] | None = None, **environment: str
) -> dict[str, Any]:  # fmt: skip
    """`python -m module FOLDER arguments...` with a plant that it may start; what it kept in the folder.

    Args:
        module: what measures.
        arguments: after the folder: `inputs` in it is a source root, `flags` is where flag
            files go, `trace` where the servers leave their traces.
        generate: changes to the row of the stage `generate`.
        deadline_s: for all of it; past it the plant is ended and what was kept so far is returned.
        inspect: the same of `inspect`; None: it has no server.
        environment: more variables.

    Raises:
        SystemExit: nothing was kept.
    """
    # Else a TERM would leave the plant behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    folder = Path(tempfile.mkdtemp(prefix="darkroom-bench-"))
    folder.chmod(0o711)  # PostgreSQL may run as another user
    for name in ("inputs", "flags"):
        (folder / name).mkdir()
    config = {**generate.get("config", {}), "flags": str(folder / "flags")}
    # A start on a machine that is busy with other things takes long, and is not what is measured.
    row = {**generate, "config": config, "model": "paint@1", "load_s": _LOAD_S}
    rows = {"generate": row, "inspect": {"servers": 0} if inspect is None else inspect}
    env = os.environ | {
        "DARKROOM_HOME": f"{folder}/home",
        "DARKROOM_SOURCE_ROOTS": json.dumps([str(folder / "inputs")]),
        "DARKROOM_CONFIG": str(FLEET / "darkroom.toml"),
        "DARKROOM_CODE": str(FLEET),
        "DARKROOM_STAGES": json.dumps(rows),
        "DARKROOM_TRACE": f"{folder}/trace",
        **environment,
    }
    try:
        _run([sys.executable, "-m", module, str(folder), *arguments], env, deadline_s)
        return dict(json.loads((folder / _RESULT).read_text()))
    except FileNotFoundError:
        raise SystemExit(f"{module} measured nothing") from None
    finally:
        # A second Ctrl-C would leave the plant behind.
        heard = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        down = [sys.executable, "-m", "darkroom.cli", "down"]
        _run(down, env, _DOWN_S)
        _keep_logs(folder, module)
        _run([*down, "--purge"], env, _DOWN_S)
        shutil.rmtree(folder, ignore_errors=True)
        for number, handler in heard.items():
            signal.signal(number, handler)


def _run(command: list[str], env: Mapping[str, str], deadline_s: float) -> None:
    """Run it to its end or to the deadline, and say when it did not go well."""
    try:
        done = subprocess.run(command, cwd=REPOSITORY, env=env, timeout=deadline_s, check=False)
    except subprocess.TimeoutExpired:
        print(f"{' '.join(command[1:])}: not done after {deadline_s:.0f} s")
    else:
        if done.returncode:
            print(f"{' '.join(command[1:])} ended with {done.returncode}")


def _keep_logs(folder: Path, module: str) -> None:
    """Where `BENCH_KEEP_LOGS` says, for who wants to know why a measurement came out as it did."""
    to = os.environ.get("BENCH_KEEP_LOGS")
    for name in ("home/logs", "home/airflow/logs", "trace") if to else ():
        if (folder / name).exists():
            shutil.copytree(folder / name, Path(to or "", module, name), dirs_exist_ok=True)


def up() -> None:
    """Start the plant of this environment; on a machine that is busy with other things, once more.

    Raises:
        StackError: it does not come up.
    """
    from darkroom import stack
    from darkroom.errors import StackError

    for last_try in (False, False, True):
        try:
            stack.up()
        except StackError as error:  # all that was started is stopped by now
            if last_try:
                raise
            print(f"again, as {error}", flush=True)
        else:
            return


def keep(folder: Path, figures: Mapping[str, Any]) -> None:
    """Hand figures to who called `in_a_plant`; a later call replaces them."""
    new = folder / f"{_RESULT}.new"
    new.write_text(json.dumps(figures))
    new.replace(folder / _RESULT)


def prompts(folder: Path, items: int) -> Path:
    """A source of so many prompts."""
    path = folder / "inputs" / f"{items}.jsonl"
    path.write_text("".join(f'{{"custom_id": "{n}", "prompt": "item {n}"}}\n' for n in range(items)))
    return path
