"""Where an item of a batch is, and what became of it."""

import pytest
from tests.unit.plant import commit_round, plan, row, run, save_rejects

from darkroom.chunks.artifacts import ArtifactKey
from darkroom.errors import BadRequest, NotPlanned
from darkroom.flows import STAGES
from darkroom.live.progress import ChunkNow, PlanNow, Progress
from darkroom.plans.planning import decide_params
from darkroom.records import BatchRequest, PlannedItem, Reject
from darkroom.results.whereabouts import whereabouts
from darkroom.stages.base import Request
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store


@pytest.fixture
def progress(url):
    return Progress(url)


@pytest.fixture
def batch(tmp_path, request):
    """Two chunks of a flow of two stages, a run for each."""
    batch = plan(
        open_store(tmp_path.as_uri()), [["a", "b", "c"], ["d", "e"]], batch_id=request.node.name[:60]
    )
    params = decide_params("f", "A_C", min_chunk_s=1, max_chunk_s=1, shard_chunks=1)
    batch.save_params(params)
    return batch


def state(batch, custom_id, progress):
    found = whereabouts(batch, custom_id, progress)
    return found.state, found.chunk, found.host


def test_an_item_waits_until_its_chunk_begins(batch, progress):
    assert state(batch, "d", progress) == ("waiting", "00001", None)
    found = whereabouts(batch, "d", progress)
    assert (found.shard, found.seed, found.item["prompt"]) == (1, 1, "a red circle")
    assert found.rounds[0].where == "its chunk waits for generate"


def test_an_item_runs_where_its_chunk_runs_and_its_picture_is_known_early(batch, progress):
    progress.report(batch.batch_id, "generate", "00001", ChunkNow(2, 1, 0, 0, "generate-1@box", "running"))
    assert state(batch, "e", progress) == ("running", "00001", "generate-1@box")
    assert whereabouts(batch, "e", progress).image_uri is None
    request = Request(custom_id="e", prompt="a red circle", seed=1)
    path = ArtifactKey.of(STAGES["generate"], request).path
    batch.store.create(path, b"a picture")
    assert whereabouts(batch, "e", progress).image_uri == batch.store.uri(path)


def test_an_item_whose_chunk_was_put_back_is_scheduled_and_says_why(batch, progress):
    told = ChunkNow(3, 1, 0, 0, "generate-1@box", "stopped", "this host is draining")
    progress.report(batch.batch_id, "generate", "00000", told)
    assert state(batch, "a", progress) == ("scheduled", "00000", None)
    assert "this host is draining" in whereabouts(batch, "a", progress).rounds[0].where


def test_an_item_between_two_stages_is_scheduled(batch, progress):
    run(batch, {"00000": [row(batch, name) for name in "abc"]}, "generate")
    found = whereabouts(batch, "b", progress)
    assert (found.state, found.rounds[0].where) == ("scheduled", "its chunk waits for inspect")
    (step,) = found.rounds[0].steps
    assert (step.stage, step.host, step.attempts, step.seconds) == ("generate", "h1", 1, 2.0)
    assert step.known > 0
    assert found.image_uri is not None


def test_what_became_of_an_item_is_its_last_stage(batch, progress):
    run(batch, {"00000": [row(batch, "a"), row(batch, "b"), row(batch, "c", "failed")]}, "generate")
    run(batch, {"00000": [row(batch, "a"), row(batch, "b", "rejected"), row(batch, "c", "failed")]})
    assert [state(batch, name, progress)[0] for name in "abc"] == ["completed", "rejected", "failed"]
    failed = whereabouts(batch, "c", progress)
    assert failed.error == {"code": "stage_failed", "message": "boom"}
    assert [step.stage for step in failed.rounds[0].steps] == ["generate"]
    assert whereabouts(batch, "b", progress).rounds[0].verdict["reasons"] == ["blank"]


def test_an_item_that_goes_round_again_is_on_its_way_and_then_what_its_best_round_was(batch, progress):
    run(batch, {"00000": [row(batch, "a"), row(batch, "b", "rejected"), row(batch, "c")]}, "generate")
    run(batch, {"00000": [row(batch, "a"), row(batch, "b", "rejected"), row(batch, "c")]})
    again = PlannedItem(custom_id="b", prompt="a red circle", seed=77, respin=1)
    commit_round(batch, 1, [[again]])
    assert state(batch, "b", progress) == ("waiting", "r1-00000", None)
    run(batch, {"r1-00000": [row(batch, "b", seed=77)]}, "generate")
    run(batch, {"r1-00000": [row(batch, "b", "failed", seed=77)]})
    found = whereabouts(batch, "b", progress)
    assert (found.state, found.chunk, found.seed, found.attempts) == ("rejected", "00000", 1, 2)
    assert [(one.round, one.state, one.seed) for one in found.rounds] == [
        (0, "rejected", 1),
        (1, "failed", 77),
    ]


def test_what_a_chunk_left_over_waits_for_the_next_round_or_is_undone(batch, progress):
    run(batch, {"00000": [row(batch, "a")]}, "generate")
    assert state(batch, "b", progress)[0] == "waiting"
    progress.plan(batch.batch_id, PlanNow("A_C", 5))
    progress.end(batch.batch_id, "failed")
    found = whereabouts(batch, "b", progress)
    assert (found.state, found.error["code"]) == ("failed", "undone")
    assert "left over by generate" in found.error["message"]


def test_a_line_that_was_refused_says_why_and_one_that_never_was_says_that(tmp_path, progress):
    batch = Batch(open_store(tmp_path.as_uri()), "refused")
    batch.save_request(BatchRequest(flow="A", source="s.jsonl", batch_id="refused"))
    save_rejects(batch, [Reject(line=17, field="prompt", reason="too long", custom_id="zz")])
    commit_round(batch, 0, [[PlannedItem(custom_id="a", prompt="x", seed=1)]], rejects=1)
    with pytest.raises(BadRequest, match=r"it was refused \(line 17: prompt: too long\)"):
        whereabouts(batch, "zz", progress)
    with pytest.raises(BadRequest, match="nor is it among the lines that were refused"):
        whereabouts(batch, "yy", progress)


def test_before_the_plan_no_item_is_anywhere(tmp_path, progress):
    with pytest.raises(NotPlanned):
        whereabouts(Batch(open_store(tmp_path.as_uri()), "b1"), "a", progress)
