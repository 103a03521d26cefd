"""What a stage's options cost every DAG parse: `python -m darkroom.stages.parsing module:Class`."""

import json
import os
import sys
import time
import traceback

from darkroom.errors import BadRequest
from darkroom.loading import load_class
from darkroom.stages.options import Options
from darkroom.stages.report import Finding

LIMIT_S = 0.5
HEAVY = (
    "torch", "onnxruntime", "numpy", "PIL", "tensorflow", "jax", "cv2", "transformers", "diffusers", "pandas",
    "scipy", "pyarrow", "skimage", "airflow",
)  # fmt: skip
"""Runtimes that take from tenths of a second to many seconds to import."""


def weigh(name: str) -> list[Finding]:
    """Import the options model `name`, which nothing has imported yet, and judge it."""
    before = set(sys.modules)
    begun = time.perf_counter()
    try:
        found = load_class(name, "options")
    except BadRequest as error:
        return [_failed(f"its options can't be imported: {error}", "every DAG parse imports them")]
    # User code may raise anything.
    except Exception as error:  # noqa: BLE001  (it is told, with its traceback)
        what = f"its options can't be imported: {type(error).__name__}: {error}"
        return [_failed(what, "every DAG parse imports them", traceback.format_exc())]
    took_s = time.perf_counter() - begun
    module = name.partition(":")[0]
    if heavy := [runtime for runtime in HEAVY if runtime in sys.modules and runtime not in before]:
        what = f"importing {module} imports {', '.join(heavy)}, and every DAG parse imports it"
        return [_failed(what, "import these in load()")]
    if took_s > LIMIT_S:
        what = f"importing {module} takes {took_s:.2f} s, and every DAG parse imports it"
        return [_failed(what, f"do what takes long in load(); at most {LIMIT_S:g} s")]
    if not issubclass(found, Options):
        return [_failed(f"{name} is no Options", "let it inherit from darkroom.stages.options:Options")]
    findings = [Finding(state="ok", what=f"importing its options is light ({took_s * 1000:.0f} ms)")]
    for option, schema in found.model_json_schema()["properties"].items():
        if missing := {"default", "description"} - schema.keys():
            what = f"option {option} has no {' and no '.join(sorted(missing))}"
            findings.append(
                _failed(what, "the form shows both: Annotated[..., Field(description=...)] = ...")
            )
    return findings


def _failed(what: str, todo: str, text: str = "") -> Finding:
    return Finding(state="failed", what=what, todo=todo, traceback=text)


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    out.write(json.dumps([finding.model_dump() for finding in weigh(sys.argv[1])]))
