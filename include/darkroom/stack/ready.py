"""The last steps of a start: pools from the stage table, every DAG file parsed."""

import json
import shutil
import time
from typing import Any

import httpx

from darkroom.errors import DarkroomError, StackError
from darkroom.flows import FLOWS, STAGES, Flow
from darkroom.rest.api import AirflowApi
from darkroom.settings import REPOSITORY
from darkroom.stack.credentials import ADMIN
from darkroom.stack.layout import Stack

_PARSED_S = 60.0
_WARM_S = 90.0
WARM_UP = "warm-up-"
"""How the names of its batches begin."""
WARM_UP_PICTURE = REPOSITORY / "examples" / "photos" / "cat.jpg"


def make_pools(stack: Stack) -> None:
    """A pool per stage; how many slots it has follows the live servers from now on (`capacity`)."""
    api = AirflowApi(stack.api_url, ADMIN, stack.credentials.admin_password)
    there = api.pools()
    for stage in STAGES.values():
        if stage.pool not in there:
            api.set_pool(stage.pool, stage.lanes, stage.summary)


def wait_until_parsed(stack: Stack) -> list[str]:
    """Wait until every DAG file is parsed.

    Returns:
        What is wrong with DAG files, one line each: no reason to stop the plant.
    """
    wanted = {path.stem for path in (REPOSITORY / "dags").glob("*.py") if not path.stem.startswith("_")}
    until = time.monotonic() + _PARSED_S
    with _session(stack) as api:
        while True:
            missing = wanted - {dag["dag_id"] for dag in _get(api, "/dags")["dags"]}
            errors = _get(api, "/importErrors")["import_errors"]
            broken = [f"{error['filename']}: {error['stack_trace'].strip()[-300:]}" for error in errors]
            if not missing or broken:
                return broken
            if time.monotonic() > until:
                return [f"not parsed after {_PARSED_S:.0f} s: {', '.join(sorted(missing))}"]
            time.sleep(0.3)


def warm_up(stack: Stack) -> list[str]:
    """One item through each stage: what every worker imports at its first task is then there.

    The items are the same at every start, so no model computes anything but at the very first.

    Returns:
        What went wrong, for the user: no reason to stop the plant.
    """
    folder = stack.home.warm_up
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    prompt = {"custom_id": "warm-up", "prompt": "a red circle on a white background"}
    (folder / "prompts.jsonl").write_text(json.dumps(prompt) + "\n")
    shutil.copyfile(WARM_UP_PICTURE, folder / "pictures" / "warm-up.jpg")
    api = AirflowApi(stack.api_url, ADMIN, stack.credentials.admin_password)
    sources = {"prompt": folder / "prompts.jsonl", "image": folder / "pictures"}
    try:
        started = [
            api.trigger(
                "image_flow",
                f"{WARM_UP}{flow.name}-{time.time():.0f}",
                {"flow": flow.name, "source": str(sources[flow.takes]), "respins": 0, "max_failed_ratio": 1},
            )
            for flow in flows_to_warm()
        ]
        for run_id in started:
            api.wait("image_flow", run_id, _WARM_S)
    except DarkroomError as error:
        return [f"the first run will be slower, as warming up failed: {error}"]
    return []


def flows_to_warm() -> list[Flow]:
    """A few flows that have a server for each stage, and together all stages that have one."""
    chosen: list[Flow] = []
    cold = {stage.name for stage in STAGES.values() if stage.servers}
    for flow in sorted(FLOWS.values(), key=lambda flow: -len(flow.stages)):
        if all(STAGES[name].servers for name in flow.stages) and cold.intersection(flow.stages):
            chosen.append(flow)
            cold -= set(flow.stages)
    return chosen


def _session(stack: Stack) -> httpx.Client:
    body = {"username": ADMIN, "password": stack.credentials.admin_password}
    try:
        answer = httpx.post(f"{stack.api_url}/auth/token", json=body, timeout=30, trust_env=False)
        token = answer.raise_for_status().json()["access_token"]
    except httpx.HTTPError as error:
        raise StackError(f"can't log in to Airflow at {stack.api_url}: {error}") from error
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{stack.api_url}/api/v2", headers=headers, timeout=30, trust_env=False)


def _get(api: httpx.Client, path: str) -> Any:
    answer = api.get(path, params={"limit": 100})
    if answer.is_error:
        raise StackError(f"Airflow answered {answer.status_code} to {path}: {answer.text[:300]}")
    return answer.json()
