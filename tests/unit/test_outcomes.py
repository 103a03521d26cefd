"""Reading as columns, a chunk at a time, gives what joining all rows as records in memory gives."""

import io
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.unit.plant import commit_round, leftovers, plan, row, run

from darkroom.errors import NotPlanned
from darkroom.flows import FLOWS
from darkroom.plans.planning import seed_for
from darkroom.records import ErrorInfo, PlannedItem, Result, Status, Verdict
from darkroom.results import outcomes
from darkroom.results.manifest import collect, rows, verify
from darkroom.store.batches import chunk_id, json_line
from darkroom.store.storage import open_store
from darkroom.views.work_table import work_table

RANKS = {Status.COMPLETED: 3, Status.REJECTED: 2, Status.FAILED: 1, Status.TIMED_OUT: 1}
ODD = 'ü\u2028"\\\n\x7f'


def reference(batch, n_rounds, undone=True, failed=False):
    """Rows, their work per stage and host, how many are undone, and what is left over: the slow way."""
    flow = batch.request().flow
    stages = FLOWS[flow].stages
    tries = {}
    for number in range(n_rounds):
        for chunk in batch.planned(number).chunk_ids:
            parts = [{r.custom_id: r for r in batch.part(stage, chunk) or []} for stage in stages]
            for item in batch.plan_chunk(chunk):
                tries.setdefault(item.custom_id, []).append((item, *one_try(item, flow, chunk, parts)))
    found, left, work, looks, n_undone = [], [], {}, {}, 0
    for custom_id, attempts in tries.items():
        for _, result, _ in attempts:
            for stage, told in result.details.get("stages", {}).items():
                done = work.setdefault((stage, told["host"]), Counter())
                done.update(items=1, tries=told["attempts"], computed=told["attempts"] > 0)
        ranks = [0 if is_undone else RANKS[result.status] for _, result, is_undone in attempts]
        best = max(range(len(ranks)), key=lambda n: (ranks[n], n))
        result = attempts[best][1].model_copy(
            update={
                "attempts": sum(r.attempts for _, r, _ in attempts),
                "seconds": round(sum(r.seconds for _, r, _ in attempts), 4),
            }
        )
        n_undone += attempts[best][2]
        look = result.verdict.checks.get("phash") if result.verdict else None
        if look is not None and (first := looks.setdefault(look, custom_id)) != custom_id:
            details = {**result.details, "near_duplicate_of": first}
            result = result.model_copy(update={"details": details})
        found.append(result)
        item, last, last_undone = attempts[-1]
        if result.status is Status.COMPLETED or last.status is Status.TIMED_OUT:
            continue
        if last_undone:
            left += [item] if undone else []
        elif result.status is Status.FAILED:
            left += [item] if failed else []
        elif result.status is Status.REJECTED and item.respin < batch.request().respins and flow != "B_C":
            respin = item.respin + 1
            seed = seed_for(batch.batch_id, custom_id, respin)
            left.append(item.model_copy(update={"seed": seed, "respin": respin}))
    return found, work, n_undone, left


def one_try(item, flow, chunk, parts):
    stages = FLOWS[flow].stages
    reached = Result(
        custom_id=item.custom_id, status=Status.FAILED, flow=flow, seed=item.seed, metadata=item.metadata
    )
    unfinished = stages[0]
    for position in reversed(range(len(stages))):
        if item.custom_id not in parts[position]:
            continue
        reached = parts[position][item.custom_id]
        is_last = position == len(stages) - 1
        if reached.status in RANKS and (is_last or reached.status is not Status.COMPLETED):
            return reached, False
        unfinished = stages[position if is_last else position + 1]
        break
    message = f"stage {unfinished} did not finish it (chunk {chunk}); see that task's log"
    error = ErrorInfo(code="undone", message=message)
    return reached.model_copy(update={"status": Status.FAILED, "error": error}), True


def draw_row(data, batch, item):
    """What a chunk might write of an item, or None."""
    what = data.draw(
        st.sampled_from(["completed", "completed", "rejected", "failed", "timed_out", "running", None])
    )
    if what is None:
        return None
    host = st.sampled_from(["h1", "h2"])
    told = {
        stage: {
            "host": data.draw(host),
            "model": "m",
            "seconds": 0.5,
            "attempts": data.draw(st.integers(0, 3)),
        }
        for stage in FLOWS[batch.request().flow].stages
    }
    details = {"said": data.draw(st.sampled_from([ODD, None, 1.5, [1, {"a": "b"}]])), "stages": told}
    fields = {
        "attempts": data.draw(st.integers(1, 4)), "seconds": data.draw(st.integers(0, 10**6)) / 10**4,
        "seed": item.seed, "metadata": item.metadata, "details": details, "picture": item.custom_id.encode(),
    }  # fmt: skip
    if what in ("completed", "rejected"):
        checks = {"phash": data.draw(st.sampled_from(["aa", "bb", "cc", None])), "nsfw": 0.1}
        reasons = [ODD] if what == "rejected" else []
        fields["verdict"] = Verdict(accepted=what == "completed", reasons=reasons, checks=checks)
    return row(batch, item.custom_id, what, **fields)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_it_equals_the_slow_way_whatever_chunks_did(tmp_path_factory, data):
    store = open_store(tmp_path_factory.mktemp("store").as_uri())
    names = [f"i{n}{ODD[0]}" for n in range(data.draw(st.integers(0, 7)))]
    flow = data.draw(st.sampled_from(["A", "A_C", "B_C"]))
    batch = plan(store, [names[:3], names[3:5], names[5:]], flow=flow, respins=data.draw(st.integers(0, 2)))
    chunks = [(name, batch.plan_chunk(name)) for name in batch.planned().chunk_ids]
    n_rounds = 1
    for number in range(1, data.draw(st.integers(1, 3)) + 1):
        for name, items in chunks:
            for stage in FLOWS[flow].stages:
                done = [found for item in items if (found := draw_row(data, batch, item))]
                if done or data.draw(st.booleans()):
                    run(batch, {name: data.draw(st.permutations(done))}, stage)
        undone, failed = data.draw(st.booleans()), data.draw(st.booleans())
        wanted, work, n_undone, left = reference(batch, n_rounds, undone, failed)
        summary = collect(batch)
        assert list(rows(batch, summary)) == wanted
        lines = store.read(store.path(summary.uris["manifest.jsonl"]))
        assert lines == b"".join(map(json_line, wanted))
        errors = store.read(store.path(summary.uris["errors.jsonl"]))
        assert errors == b"".join(
            json_line(r) for r in wanted if r.status in (Status.FAILED, Status.TIMED_OUT)
        )
        assert summary.undone == n_undone
        assert {
            (stage, host): (done.items, done.tries, done.computed)
            for stage, hosts in summary.by_stage_and_host.items()
            for host, done in hosts.items()
        } == {key: (done["items"], done["tries"], done["computed"]) for key, done in work.items()}
        assert verify(batch).problems == []
        assert leftovers(batch, undone=undone, failed=failed) == left
        cut = data.draw(st.integers(0, len(left)))
        commit_round(batch, number, [left[:cut], left[cut:]])
        chunks = [(chunk_id(n, f"r{number}"), part) for n, part in enumerate((left[:cut], left[cut:]))]
        n_rounds += 1


def test_the_first_item_left_over_is_known_without_the_rest(store_with_leftovers):
    batch = store_with_leftovers
    assert next(outcomes.leftovers(batch)).custom_id == "a"
    assert [item.custom_id for item in leftovers(batch)] == ["a", "b", "c"]


@pytest.fixture
def store_with_leftovers(tmp_path):
    return plan(open_store(tmp_path.as_uri()), [["a", "b"], ["c"]])


def test_a_round_of_items_that_nobody_planned_is_told(store_with_leftovers):
    batch = store_with_leftovers
    commit_round(batch, 1, [[PlannedItem(custom_id="x", prompt="x", seed=1)]])
    with pytest.raises(NotPlanned, match="round 1 holds x"):
        collect(batch)


def stage_row(batch, custom_id, host, attempts, **told):
    stages = {"generate": {"host": host, "model": "m", "attempts": attempts, **told}}
    return row(batch, custom_id, details={"stages": stages})


def test_what_was_computed_in_vain_and_how_fast_it_could_have_been_are_told(
    store_with_leftovers, monkeypatch
):
    batch = store_with_leftovers
    run(batch, {
        "00000": [
            stage_row(batch, "a", "fast", 1, seconds=9.0, busy_s=1.0),
            stage_row(batch, "b", "fast", 0, seconds=0.1, busy_s=0.0),
        ],
        "00001": [stage_row(batch, "c", "slow", 3, seconds=9.0, busy_s=3.0)],
    })  # fmt: skip
    written = dict(batch.store.list_written(batch.root))
    summary = collect(batch)
    fast, slow = (summary.by_stage_and_host["generate"][host] for host in ("fast", "slow"))
    assert (fast.items, fast.computed, fast.tries, fast.busy_s, fast.seconds) == (2, 1, 1, 1.0, 9.1)
    assert (slow.items, slow.computed, slow.tries, slow.busy_s) == (1, 1, 3, 3.0)
    assert (summary.wasted.tries, summary.wasted.busy_s) == (2, 6.0)
    assert summary.lower_bound_s == 1.5  # two items at 1 + 1/3 items a second
    last = max(written[batch.part_path("inspect", name)] for name in ("00000", "00001"))
    assert summary.elapsed_s == round(last - written[batch.index_path()], 3)
    assert summary.excess == round(summary.elapsed_s / 1.5 - 1, 4)


def test_rows_that_tell_no_busy_time_count_with_their_wall_time(store_with_leftovers):
    batch = store_with_leftovers
    run(batch, {"00000": [stage_row(batch, name, "h", 1, seconds=2.5) for name in "ab"]})
    summary = collect(batch)
    assert summary.by_stage["generate"].busy_s == 5.0
    assert summary.lower_bound_s == 5.0


def test_lines_of_the_manifest_are_json_in_the_order_of_the_record(store_with_leftovers):
    summary = collect(store_with_leftovers)
    store = store_with_leftovers.store
    for line in store.read(store.path(summary.uris["manifest.jsonl"])).splitlines():
        assert list(json.loads(line)) == list(Result.model_fields)


def test_a_table_shows_each_stage_and_host_and_how_it_compares(store_with_leftovers):
    batch = store_with_leftovers
    run(batch, {
        "00000": [stage_row(batch, name, "fast", 1, seconds=9.0, busy_s=100.0) for name in "ab"],
        "00001": [stage_row(batch, "c", "slow", 3, seconds=9.0, busy_s=300.0)],
    })  # fmt: skip
    summary = collect(batch).model_copy(update={"elapsed_s": 3600.0, "excess": 0.5})
    console = Console(width=200, file=io.StringIO())
    console.print(work_table(summary))
    text = " ".join(console.file.getvalue().split())
    for said in (
        "fast",
        "66.7%",
        "slow",
        "33.3%",
        "0:03:20",
        "took 1:00:00",
        "50.0% above",
        "2 tries in vain",
    ):
        assert said in text


def test_what_has_expired_goes_round_no_more_even_when_failed_items_do(tmp_path):
    batch = plan(open_store(tmp_path.as_uri()), [["a", "b", "c"]])
    run(
        batch,
        {"00000": [row(batch, "a", "timed_out"), row(batch, "b", "rejected"), row(batch, "c", "failed")]},
    )
    again = leftovers(batch, failed=True)
    assert [item.custom_id for item in again] == ["b", "c"]
    commit_round(batch, 1, [again])
    run(batch, {"r1-00000": [row(batch, "b", "timed_out"), row(batch, "c", "timed_out")]})
    assert leftovers(batch, failed=True) == []
    summary = collect(batch)
    assert (summary.rejected, summary.timed_out, summary.items) == (1, 2, 3)
