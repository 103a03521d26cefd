"""Real batches through the real stack: from the REST trigger to a verified manifest."""

import json

import pytest

from darkroom.commands.batches import api
from darkroom.errors import BadRequest
from darkroom.records import Status
from darkroom.results.manifest import rows
from darkroom.settings import REPOSITORY
from tests.bad_lines import BAD_LINES
from tests.stack.plant import finished, source, started
from tests.unit.plant import rejects_of

RED = "a large red circle on a white background"


@pytest.mark.parametrize(("flow", "name"), [("A", "prompts.csv"), ("A_C", "prompts.csv"), ("B_C", "photos")])
def test_a_flow_runs_from_trigger_to_verified_manifest(stack, flow, name):
    batch, summary = finished(started(flow, f"examples/{name}", respins=0))
    assert summary.items == summary.completed + summary.rejected > 0
    assert summary.generation == 1
    for file in ("contact_sheet.html", "contact_sheet.png", "errors.jsonl", "manifest.jsonl"):
        assert batch.store.exists(batch.manifest_path(1, file)), file
    assert (
        set(summary.by_stage)
        == {"A": {"generate"}, "A_C": {"generate", "inspect"}, "B_C": {"enhance", "inspect"}}[flow]
    )


def test_both_inspect_servers_take_their_share(stack):
    many = "".join(json.dumps({"custom_id": f"i{n}", "prompt": RED}) + "\n" for n in range(120))
    _, summary = finished(
        started("A_C", source("many.jsonl", many), respins=0, options={"generate": {"steps": 1}})
    )
    assert {host.split("@")[0] for host in summary.by_host} == {"generate-1", "inspect-1", "inspect-2"}


def test_what_c_rejects_goes_round_again_with_a_new_seed_and_makes_a_new_generation(stack):
    lines = [{"custom_id": "good", "prompt": RED}, {"custom_id": "odd", "prompt": "a purple giraffe on mars"}]
    text = "\n".join(json.dumps(line) for line in lines)
    batch, summary = finished(started("A_C", source("rejected.jsonl", text), respins=2))
    assert (summary.generation, summary.completed, summary.rejected) == (3, 1, 1)
    sheets = [batch.manifest_path(number, "contact_sheet.html") for number in (1, 2, 3)]
    assert [batch.store.exists(sheet) for sheet in sheets] == [False, False, True]
    odd = next(row for row in rows(batch, summary) if row.custom_id == "odd")
    assert odd.status is Status.REJECTED
    assert odd.attempts == 6  # two stages, three rounds
    seeds = {item.seed for number in range(3) for chunk in batch.planned(number).chunk_ids
             for item in batch.plan_chunk(chunk) if item.custom_id == "odd"}  # fmt: skip
    assert len(seeds) == 3
    for number in (1, 2):
        assert api().run_state("shard_flow", f"{batch.batch_id}__round{number}") == "success"


def test_bad_lines_are_reported_by_line_and_field_and_the_rest_is_done(stack):
    good = {"custom_id": "good", "prompt": RED}
    more = [
        (json.dumps(good).encode(), "custom_id", "in the source already"),
        (json.dumps({**good, "custom_id": "steps", "options": {"generate": {"steps": 0}}}).encode(),
         "options.generate", "steps"),
    ]  # fmt: skip
    bad = [*BAD_LINES, *more]
    text = b"\xef\xbb\xbf" + json.dumps(good).encode() + b"\r\n"
    text += b"".join(line + b"\n" for line, _, _ in bad)
    text += b"\n" + json.dumps({**good, "custom_id": "last"}).encode()  # after an empty line, without an end
    batch, summary = finished(started("A", source("mixed.jsonl", text)))
    assert (summary.items, summary.completed, summary.rejects) == (2, 2, len(bad))
    told = rejects_of(batch)
    expected = [(number, field) for number, (_, field, _) in enumerate(bad, start=2)]
    assert [(reject.line, reject.field) for reject in told] == expected
    assert all(why in reject.reason for reject, (_, _, why) in zip(told, bad, strict=True))


def test_hostile_pictures_fail_alone_with_a_code(stack):
    folder = source("hostile/empty.png", b"")
    source("hostile/picture.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    source("hostile/svg.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    source("hostile/truncated.jpg", (REPOSITORY / "examples/photos/cat.jpg").read_bytes()[:2000])
    source("hostile/good.jpg", (REPOSITORY / "examples/photos/cat.jpg").read_bytes())
    batch, summary = finished(started("B_C", str(folder.parent), max_failed_ratio=1))
    found = {row.custom_id: (row.status, row.error and row.error.code) for row in rows(batch, summary)}
    assert found["good.jpg"][0] is Status.COMPLETED
    for name in ("empty.png", "svg.png", "truncated.jpg"):
        assert found[name] == (Status.FAILED, "invalid_image"), name


def test_a_run_fails_above_max_failed_ratio_with_its_manifest_written(stack):
    folder = source("broken/one.png", b"\x89PNG\r\n\x1a\n")
    batch, summary = finished(started("B_C", str(folder.parent)), state="failed")
    assert summary.failed == 1
    assert batch.store.exists(batch.manifest_path(1, "contact_sheet.html"))
    why = api().failure("image_flow", batch.batch_id)
    assert why.startswith("verdict: ")
    assert "more than max_failed_ratio 5.0% allows" in why


def test_a_batch_that_can_not_be_planned_says_why_in_the_terminal(stack):
    path = source("semicolons.csv", "custom_id;prompt\na;b\n")
    done = stack.darkroom("submit", str(path), "--flow", "A", "--wait")
    assert done.returncode == 1
    assert "failed at plan: " in done.stderr
    assert "unknown column 'custom_id;prompt'" in done.stderr


def test_an_empty_source_succeeds_with_an_empty_manifest(stack):
    _, summary = finished(started("A", source("empty.jsonl", "")))
    assert (summary.items, summary.generation) == (0, 1)


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"flow": "C_A"}, "C_A"),
        ({"options": {"generate": {"steps": 1000}}}, "1000"),
        ({"respins": 9}, "9"),
        ({"batch_id": "../../etc"}, "etc"),
    ],
)
def test_a_bad_value_is_refused_at_trigger_time(stack, conf, told):
    with pytest.raises(BadRequest, match=told):
        api().trigger("image_flow", f"bad-{told}", {"flow": "A", "source": "examples/prompts.csv", **conf})


def test_the_same_run_id_twice_starts_one_run(stack):
    conf = {"flow": "A", "source": source("one.jsonl", json.dumps({"custom_id": "a", "prompt": RED}))}
    conf["source"] = str(conf["source"])
    api().trigger("image_flow", "only-once", conf)
    with pytest.raises(BadRequest, match="exists already: only-once"):
        api().trigger("image_flow", "only-once", conf)


def test_a_cleared_run_computes_nothing_again_and_writes_nothing_new(stack):
    run = started("A_C", "examples/prompts.csv", respins=0)
    batch, summary = finished(run)
    before = {path: batch.store.read(path) for path in batch.store.list(batch.root)}
    api().clear("image_flow", run.run_id)
    _, summary_again = finished(run)
    assert summary_again == summary
    assert {path: batch.store.read(path) for path in batch.store.list(batch.root)} == before
