"""Every planned item has exactly one row, the best there is; who collects when changes nothing."""

import io
import json
import threading
import tracemalloc

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.plant import commit_round, leftovers, plan, row, run

from darkroom.errors import NotPlanned
from darkroom.plans.planning import seed_for
from darkroom.records import ErrorInfo, PlannedItem, Status, Verdict
from darkroom.results import manifest
from darkroom.results.manifest import collect, current, rows, verify
from darkroom.results.summary import Looks
from darkroom.store.batches import Batch, chunk_id
from darkroom.store.result_table import result_bytes
from darkroom.store.storage import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path.as_uri())


def final(batch):
    """Status per item of the current generation, in its order."""
    return {result.custom_id: result.status.value for result in rows(batch, current(batch))}


def item(custom_id, respin=0, seed=1):
    return PlannedItem(custom_id=custom_id, prompt="x", seed=seed, respin=respin)


def test_each_planned_item_has_one_row_in_plan_order_whatever_became_of_it(store):
    batch = plan(store, [["a", "b", "c"], ["d", "e"], ["f"]], rejects=2)
    run(batch, {"00000": [row(batch, "c"), row(batch, "a"), row(batch, "b", "rejected")]})
    run(batch, {"00000": [row(batch, name) for name in "abc"]}, "generate")
    run(batch, {"00001": [row(batch, "d"), row(batch, "e", "timed_out")]}, "generate")
    summary = collect(batch)
    assert final(batch) == {
        "a": "completed",
        "b": "rejected",
        "c": "completed",
        "d": "failed",
        "e": "timed_out",
        "f": "failed",
    }
    assert (summary.items, summary.completed, summary.rejected, summary.failed, summary.timed_out) == (
        6,
        2,
        1,
        2,
        1,
    )
    assert (summary.undone, summary.rejects, summary.failed_ratio) == (2, 2, 0.5)
    assert summary.errors == {"undone": 2, "stage_failed": 1}
    errors = {result.custom_id: result.error for result in rows(batch, summary) if result.error}
    assert errors["d"].code == errors["f"].code == "undone"
    assert "inspect did not finish" in errors["d"].message
    assert "generate did not finish" in errors["f"].message
    assert "chunk 00002" in errors["f"].message


def test_what_is_written_can_be_opened_and_the_summary_commits_it(store):
    batch = plan(store, [["a", "b"]])
    run(batch, {"00000": [row(batch, "a", metadata={"album": "ü"}), row(batch, "b", "failed")]})
    summary = collect(batch)
    files = {name: store.read(store.path(uri)) for name, uri in summary.uris.items()}
    table = pq.read_table(io.BytesIO(files["manifest.parquet"]))
    assert table["custom_id"].to_pylist() == ["a", "b"]
    lines = [json.loads(line) for line in files["manifest.jsonl"].splitlines()]
    assert [line["metadata"] for line in lines] == [{"album": "ü"}, {}]
    assert [json.loads(line)["custom_id"] for line in files["errors.jsonl"].splitlines()] == ["b"]
    assert current(batch) == summary
    assert current(batch).generation == 1
    assert "2 items: 1 completed" in str(summary)


def test_an_empty_batch_has_an_empty_manifest(store):
    batch = plan(store, [], rejects=1)
    summary = collect(batch)
    assert (summary.items, summary.failed_ratio, summary.rejects) == (0, 0.0, 1)
    assert verify(batch).ok
    assert leftovers(batch) == []


def test_a_batch_without_plan_is_told(store):
    with pytest.raises(NotPlanned):
        collect(Batch(store, "b1"))
    assert current(Batch(store, "b1")) is None


@pytest.mark.parametrize(
    ("first", "second", "wins"),
    [
        ("rejected", "completed", 1),
        ("rejected", "rejected", 1),
        ("rejected", "failed", 0),
        ("rejected", None, 0),
        ("failed", "completed", 1),
        ("failed", "rejected", 1),
        ("failed", "timed_out", 1),
        ("failed", None, 0),
        (None, "completed", 1),
        (None, "failed", 1),
        (None, None, 1),
        ("completed", "rejected", 0),
        ("completed", "completed", 1),
        ("timed_out", "failed", 1),
    ],
)
def test_the_best_try_wins_and_of_equals_the_latest(store, first, second, wins):
    batch = plan(store, [["a"]])
    commit_round(batch, 1, [[item("a", respin=1, seed=2)]])
    if first:
        run(batch, {"00000": [row(batch, "a", first, seed=1, attempts=2, seconds=1.5)]})
    if second:
        run(batch, {"r1-00000": [row(batch, "a", second, seed=2, attempts=3, seconds=2.25, picture=b"2")]})
    summary = collect(batch)
    (result,) = rows(batch, summary)
    assert result.seed == 1 + wins
    assert result.status.value == ((first, second)[wins] or "failed")
    assert result.attempts == (2 if first else 0) + (3 if second else 0)
    assert result.seconds == (1.5 if first else 0) + (2.25 if second else 0)
    assert summary.undone == ((first, second)[wins] is None)
    assert verify(batch).ok


def test_work_is_added_up_over_stages_hosts_and_rounds(store):
    batch = plan(store, [["a", "b"]])
    commit_round(batch, 1, [[item("b", respin=1)]])

    def stages(**hosts):
        return {
            "stages": {s: {"host": h, "model": "m", "seconds": 1.25, "attempts": 1} for s, h in hosts.items()}
        }

    both = stages(generate="h1", inspect="h2")
    run(batch, {"00000": [row(batch, "a", details=both), row(batch, "b", "rejected", details=both)]})
    run(batch, {"r1-00000": [row(batch, "b", details=stages(generate="h2", inspect="h2"))]})
    summary = collect(batch)
    assert {name: (work.items, work.seconds) for name, work in summary.by_stage.items()} == {
        "generate": (3, 3.75),
        "inspect": (3, 3.75),
    }
    assert {name: (work.items, work.seconds) for name, work in summary.by_host.items()} == {
        "h1": (2, 2.5),
        "h2": (4, 5.0),
    }


def test_pictures_that_look_the_same_are_marked_and_counted_but_kept(store):
    batch = plan(store, [["a", "b"], ["c", "d"]])

    def look(phash):
        return Verdict(accepted=True, checks={"phash": phash})

    run(batch, {"00000": [row(batch, "a", verdict=look("ff")), row(batch, "b", verdict=look("00"))]})
    run(batch, {"00001": [row(batch, "c", verdict=look("ff")), row(batch, "d", verdict=look("ff"))]})
    summary = collect(batch)
    marks = [result.details.get("near_duplicate_of") for result in rows(batch, summary)]
    assert marks == [None, None, "a", "a"]
    assert (summary.near_duplicates, summary.completed) == (2, 4)


def test_collecting_again_writes_nothing(store):
    batch = plan(store, [["a"], ["b"]])
    run(batch, {"00000": [row(batch, "a")]})
    first = collect(batch)
    before = sorted(store.list(""))
    assert collect(batch) == first
    run(batch, {"00001": []})  # a new file that changes no outcome but the message stays the same
    assert collect(batch) == first
    assert sorted(store.list("")) == sorted([*before, batch.part_path("inspect", "00001")])


def test_what_is_new_makes_the_next_generation_and_leaves_the_old_one(store):
    batch = plan(store, [["a"], ["b"]])
    run(batch, {"00000": [row(batch, "a")]})
    first = collect(batch)
    run(batch, {"00001": [row(batch, "b")]})
    second = collect(batch)
    assert (first.generation, second.generation) == (1, 2)
    assert final(batch) == {"a": "completed", "b": "completed"}
    assert [result.status.value for result in rows(batch, first)] == ["completed", "failed"]


def test_a_generation_that_was_never_committed_is_passed_over(store):
    batch = plan(store, [["a"]])
    store.create_json(batch.manifest_path(1, "claim.json"), "a collector that died")
    store.create(batch.manifest_path(1, "manifest.parquet"), b"half")
    assert current(batch) is None
    assert collect(batch).generation == 2
    assert current(batch).generation == 2


def test_a_collector_that_slept_after_reading_tells_what_is_there_when_it_claims(store, monkeypatch):
    """A zombie reads old parts, a fresh collector writes newer ones, the zombie wakes and claims."""
    batch = plan(store, [["a"]])
    claim = manifest.claim

    def sleep_then_claim(batch):
        monkeypatch.setattr(manifest, "claim", claim)
        run(batch, {"00000": [row(batch, "a")]})
        assert collect(batch).generation == 1
        return claim(batch)

    monkeypatch.setattr(manifest, "claim", sleep_then_claim)
    assert collect(batch).generation == 2
    assert final(batch) == {"a": "completed"}


def test_a_collector_that_slept_after_claiming_spoils_nothing(store, monkeypatch):
    batch = plan(store, [["a"]])
    commit = manifest._commit

    def sleep_then_commit(batch, generation, draft):
        monkeypatch.setattr(manifest, "_commit", commit)
        run(batch, {"00000": [row(batch, "a")]})
        assert collect(batch).generation == 2
        return commit(batch, generation, draft)

    monkeypatch.setattr(manifest, "_commit", sleep_then_commit)
    assert collect(batch).generation == 1
    assert current(batch).generation == 2
    assert final(batch) == {"a": "completed"}
    assert verify(batch).ok


def test_collectors_that_race_each_write_a_whole_generation(store):
    batch = plan(store, [[f"{chunk}-{n}" for n in range(5)] for chunk in range(4)])
    start = threading.Barrier(6)
    done, problems = [], []

    def chunk(number):
        start.wait()
        run(batch, {chunk_id(number): [row(batch, f"{number}-{n}") for n in range(5)]})

    def collector():
        start.wait()
        try:
            done.extend(collect(batch) for _ in range(4))
        except Exception as error:  # noqa: BLE001 - told below
            problems.append(error)

    threads = [threading.Thread(target=chunk, args=(n,)) for n in range(3)]
    threads += [threading.Thread(target=collector) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    collect(batch)
    assert verify(batch).ok
    assert sorted(final(batch).values()) == ["completed"] * 15 + ["failed"] * 5
    for summary in done:
        assert len(list(rows(batch, summary))) == 20
        assert sum(result.status is Status.COMPLETED for result in rows(batch, summary)) == summary.completed


def test_a_claim_whose_answer_got_lost_is_still_ours(store, monkeypatch):
    batch = plan(store, [["a"]])
    create_json = type(store).create_json

    def lossy(self, path, value):
        wrote = create_json(self, path, value)
        return False if path.endswith("claim.json") else wrote

    monkeypatch.setattr(type(store), "create_json", lossy)
    assert collect(batch).generation == 1


def test_the_first_of_each_look_is_known_without_holding_them():
    tracemalloc.start()
    looks = Looks()
    for number in range(20_000):
        assert looks.first(f"{number:016x}", f"card-{number}") == f"card-{number}"
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 500_000
    assert looks.first(f"{17:016x}", "card-20000") == "card-17"


# What is left over.


def test_rejected_items_get_a_new_seed_until_their_respins_are_spent(store):
    batch = plan(store, [["a", "b", "c"]], respins=2)
    run(batch, {"00000": [row(batch, "a", "rejected"), row(batch, "b"), row(batch, "c", "failed")]})
    for respin in (1, 2):
        (left,) = leftovers(batch)
        assert left == item("a", respin, seed_for("b1", "a", respin)).model_copy(
            update={"prompt": "a red circle"}
        )
        commit_round(batch, respin, [[left]])
        run(batch, {chunk_id(0, f"r{respin}"): [row(batch, "a", "rejected", picture=b"%d" % respin)]})
    assert leftovers(batch) == []


def test_undone_items_come_again_as_they_were_but_not_for_ever(store):
    batch = plan(store, [["a", "b"]], respins=5)
    run(batch, {"00000": [row(batch, "b")]})
    for number in (1, 2):
        (left,) = leftovers(batch)
        assert (left.custom_id, left.seed, left.respin) == ("a", 1, 0)
        commit_round(batch, number, [[left]])
    assert leftovers(batch, undone=False) == []


def test_who_asks_for_it_gets_what_failed_once_more(store):
    batch = plan(store, [["a", "b", "c", "d"]])
    run(batch, {"00000": [row(batch, "a"), row(batch, "b", "failed"), row(batch, "c", "timed_out")]})
    assert [left.custom_id for left in leftovers(batch)] == ["d"]
    assert [left.custom_id for left in leftovers(batch, failed=True)] == ["b", "d"]
    assert [left.custom_id for left in leftovers(batch, undone=False, failed=True)] == ["b"]


def test_a_respin_that_is_undone_keeps_its_new_seed(store):
    batch = plan(store, [["a"]])
    run(batch, {"00000": [row(batch, "a", "rejected")]})
    (respun,) = leftovers(batch)
    commit_round(batch, 1, [[respun]])
    assert leftovers(batch) == [respun]
    commit_round(batch, 2, [[respun]])
    run(batch, {"r2-00000": [row(batch, "a")]})
    assert leftovers(batch) == []
    collect(batch)
    assert final(batch) == {"a": "completed"}


def test_pictures_that_were_uploaded_are_not_respun(store):
    batch = plan(store, [["a"]], flow="B_C")
    run(batch, {"00000": [row(batch, "a", "rejected")]})
    assert leftovers(batch) == []


@given(st.data())
def test_the_rounds_always_end_and_every_item_keeps_one_row(tmp_path_factory, data):
    """Whatever chunks do, a bounded number of rounds leads to a manifest that verifies."""
    store = open_store(tmp_path_factory.mktemp("store").as_uri())
    names = [f"i{n}" for n in range(data.draw(st.integers(0, 4)))]
    batch = plan(store, [names[:2], names[2:]], respins=data.draw(st.integers(0, 2)))
    chunks = [(chunk, batch.plan_chunk(chunk)) for chunk in ("00000", "00001")]
    for number in range(1, 7):
        for chunk, items in chunks:
            whats = [data.draw(st.sampled_from(["completed", "rejected", "failed", None])) for _ in items]
            picture = chunk.encode()
            done = [
                row(batch, i.custom_id, what, seed=i.seed, picture=picture + i.custom_id.encode())
                for i, what in zip(items, whats, strict=True)
                if what
            ]
            if done or data.draw(st.booleans()):
                run(batch, {chunk: done})
        collect(batch)
        assert verify(batch).problems == []
        assert list(final(batch)) == names
        left = leftovers(batch, undone=number <= 2)
        if not left:
            return
        commit_round(batch, number, [left])
        chunks = [(chunk_id(0, f"r{number}"), left)]
    pytest.fail("the rounds do not end")


# Whether it is true.


def test_verify_tells_its_progress(store):
    batch = plan(store, [["a", "b"]])
    run(batch, {"00000": [row(batch, "a"), row(batch, "b")]})
    collect(batch)
    told = []
    report = verify(batch, lambda done, total: told.append((done, total)))
    assert told == [(2, 2)]
    assert report.ok
    assert (report.items, report.rows, report.images) == (2, 2, 2)


def test_a_picture_that_is_gone_changed_or_cut_is_found(store, tmp_path):
    batch = plan(store, [["gone", "changed", "cut", "well"]])
    results = [row(batch, name) for name in ("gone", "changed", "cut", "well")]
    run(batch, {"00000": results})
    collect(batch)
    paths = [tmp_path / store.path(result.image_uri) for result in results]
    paths[0].unlink()
    paths[1].write_bytes(b"CHANGED")
    paths[2].write_bytes(b"c")
    problems = verify(batch).problems
    assert len(problems) == 3
    assert "is not there" in problems[0]
    assert "another SHA-256" in problems[1]
    assert "has 1 bytes, not 3" in problems[2]
    assert not verify(batch).ok


def test_rows_that_do_not_match_the_plan_are_found(store, tmp_path):
    batch = plan(store, [["a", "b"]])
    run(batch, {"00000": [row(batch, "a"), row(batch, "b")]})
    summary = collect(batch)
    good = list(rows(batch, summary))
    table = tmp_path / store.path(summary.uris["manifest.parquet"])

    def found(results):
        table.write_bytes(result_bytes(results))
        return " ".join(verify(batch).problems)

    assert found(good) == ""
    assert "b: 0 rows" in found(good[:1])
    assert "b: 2 rows" in found([*good, good[1]])
    assert "not planned" in found([*good, row(batch, "x")])
    assert "not in plan order" in found(good[::-1])
    assert "without a picture" in found([good[0].model_copy(update={"image_uri": None}), good[1]])
    other = {"status": Status.FAILED, "error": ErrorInfo(code="x", message="y")}
    assert "counts 2 completed, the rows 1" in found([good[0].model_copy(update=other), good[1]])


def test_an_id_that_was_planned_twice_is_found(store):
    batch = plan(store, [["a"], ["a"]])
    run(batch, {"00000": [row(batch, "a")], "00001": [row(batch, "a")]})
    collect(batch)
    problems = " ".join(verify(batch).problems)
    assert "a: planned 2 times" in problems
    assert "a: 2 rows" in problems


def test_without_pictures_only_the_files_of_the_batch_are_compared(store, tmp_path):
    batch = plan(store, [["a", "b"]])
    results = [row(batch, "a"), row(batch, "b")]
    run(batch, {"00000": results})
    collect(batch)
    (tmp_path / store.path(results[0].image_uri)).unlink()
    report = verify(batch, pictures=False)
    assert (report.ok, report.rows, report.images) == (True, 2, 0)
    assert not verify(batch).ok


def test_a_missing_manifest_and_lost_bad_lines_are_problems(store, tmp_path):
    batch = plan(store, [["a"]], rejects=2)
    assert "no manifest" in verify(batch).problems[0]
    collect(batch)
    assert verify(batch).ok
    (tmp_path / batch.rejects_path).write_text("")
    assert "2 bad lines, rejects.jsonl holds 0" in verify(batch).problems[0]


def test_a_damaged_manifest_is_found(store, tmp_path):
    batch = plan(store, [["a"]])
    summary = collect(batch)
    path = tmp_path / store.path(summary.uris["manifest.jsonl"])
    path.write_bytes(path.read_bytes().replace(b"undone", b"UNDONE"))
    assert "not the one" in verify(batch).problems[0]
