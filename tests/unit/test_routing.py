"""What goes on when a batch has ended, over a real store: decided once, each item at most once."""

import json
import re
import sys
import tomllib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter
from tests.unit.plant import commit_round, plan, rejects_of, row, run

from darkroom.errors import BadRequest
from darkroom.inputs import read_input, roots_of
from darkroom.plans.intake import plan_batch
from darkroom.records import BatchId, BatchRequest, PlannedItem
from darkroom.rest.api import Run
from darkroom.results.manifest import collect, current, rows
from darkroom.results.onward import batch_id_of, conf_of, gone_on, refuse_taken
from darkroom.results.routing import ask_of, send_on
from darkroom.settings import REPOSITORY, settings
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store
from darkroom.views.looking import Lookout
from darkroom.views.sight import Sight

FUNCTIONS = """
def by_number(row, summary):
    return "B_C" if row.metadata["number"] % 2 else None

def by_name(row, summary):
    return {"a": "B_C", "b": "A_C"}.get(row.custom_id)

def when_many_are_rejected(row, summary):
    return "A_C" if summary.rejected > summary.items / 2 else None

def wrong(row, summary):
    return 1 / 0

def nowhere(row, summary):
    return "C_A"

def again(row, summary):
    return "A_C"

seven = 7
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store, and a plant with a route for each function."""
    (tmp_path / "ways.py").write_text(FUNCTIONS)
    names = ("by_number", "by_name", "when_many_are_rejected", "wrong", "nowhere", "again", "seven", "gone")
    table = {name: {"summary": "s", "function": f"ways:{name}"} for name in names}
    table["no_module"] = {"summary": "s", "function": "no_such_module:f"}
    table["by_name"]["options"] = {"enhance": {"scale": 2}, "inspect": {"max_nsfw": 0.5}}
    table["bad_option"] = table["again"] | {"options": {"enhance": {"scale": 3}}}
    table["bad_stage"] = table["again"] | {"options": {"paint": {}}}
    monkeypatch.setenv("DARKROOM_THEN", json.dumps(table))
    monkeypatch.setenv("DARKROOM_CODE", str(tmp_path))
    monkeypatch.setenv("DARKROOM_STORE", (tmp_path / "store").as_uri())
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.delitem(sys.modules, "ways", raising=False)
    settings.cache_clear()
    yield open_store((tmp_path / "store").as_uri())
    monkeypatch.delitem(sys.modules, "ways", raising=False)
    settings.cache_clear()


def ended(store, outcomes, flow="A_C", **request):
    """A batch with a manifest: what became of each item, and its number."""
    batch = Batch(store, "numbers")
    batch.save_request(BatchRequest(flow=flow, source="s.jsonl", batch_id="numbers", **request))
    given = {"prompt": "a red circle"} if flow != "B_C" else {"image": "file:///a.png"}
    items = [
        PlannedItem(custom_id=name, seed=7, width=96, metadata={"number": number}, **given)
        for number, name in enumerate(outcomes)
    ]
    commit_round(batch, 0, [items[:2], items[2:]] if items[2:] else [items])
    for chunk in batch.planned().chunk_ids:
        run(batch, {chunk: [
            row(batch, item.custom_id, outcomes[item.custom_id], metadata=item.metadata, seed=7,
                picture=picture(item.metadata["number"]))
            for item in batch.plan_chunk(chunk)
        ]})  # fmt: skip
    return batch


def picture(number):
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def sent(batch, name, manifest=None):
    """The lines that go on by a route, by flow."""
    send_on(batch, manifest or collect(batch), name)
    return {onward.flow: lines(batch, onward) for onward in gone_on(batch, name)}


def lines(batch, onward):
    data = batch.store.read(batch.store.path(onward.source))
    assert onward.items == len(data.splitlines())
    return [json.loads(line) for line in data.splitlines()]


def ids(found):
    return {flow: [line["custom_id"] for line in some] for flow, some in found.items()}


def test_odd_goes_one_way_and_even_is_done(store):
    batch = ended(store, dict.fromkeys(("zero", "one", "two", "three"), "completed"))
    assert ids(sent(batch, "by_number")) == {"B_C": ["one", "three"]}
    (onward,) = gone_on(batch)
    assert (onward.batch_id, onward.items) == ("numbers-by_number-B_C", 2)
    assert str(onward) == "by_number: 2 items went on to B_C as batch numbers-by_number-B_C"


def test_what_goes_on_brings_its_picture_or_its_prompt_and_seed_and_its_metadata(store):
    batch = ended(store, dict.fromkeys(("a", "b", "c"), "completed"))
    found = sent(batch, "by_name")
    first, second = list(rows(batch, current(batch)))[:2]
    assert found["B_C"] == [
        {"custom_id": "a", "image": first.image_uri, "seed": 7, "metadata": {"number": 0}}
    ]
    assert found["A_C"] == [
        {"custom_id": "b", "prompt": "a red circle", "seed": 7, "width": 96, "metadata": {"number": 1}}
    ]
    assert second.seed == 7


def test_what_was_rejected_is_asked_about_and_what_failed_is_not(store):
    outcomes = {"a": "rejected", "b": "failed", "c": "timed_out", "d": "completed"}
    assert ids(sent(ended(store, outcomes), "again")) == {"A_C": ["a", "d"]}


@pytest.mark.parametrize(("second", "goes_on"), [("rejected", {"A_C": ["a", "b", "c"]}), ("completed", {})])
def test_the_function_may_decide_by_the_summary_too(store, second, goes_on):
    batch = ended(store, {"a": "rejected", "b": second, "c": "completed"})
    assert ids(sent(batch, "when_many_are_rejected")) == goes_on


def test_once_decided_it_stays_so_whatever_the_function_says_later(store, tmp_path, monkeypatch):
    batch = ended(store, dict.fromkeys(("a", "b"), "completed"))
    before = sent(batch, "again")
    monkeypatch.setattr("ways.again", lambda row, summary: 1 / 0)
    assert sent(batch, "again") == before


def test_a_try_that_was_killed_before_it_had_decided_binds_nobody(store, monkeypatch):
    batch = ended(store, dict.fromkeys(("a", "b"), "completed"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(store), "create_json", _killed)
        sent(batch, "again")
    assert gone_on(batch) == []
    assert ids(sent(batch, "by_name")) == {"B_C": ["a"], "A_C": ["b"]}
    monkeypatch.setattr("ways.again", lambda row, summary: "A_C" if row.custom_id == "b" else None)
    assert ids(sent(batch, "again")) == {"A_C": ["b"]}


def _killed(*_):
    raise KeyboardInterrupt


def test_a_later_manifest_sends_on_only_what_has_not_gone_before(store):
    batch = ended(store, {"a": "completed", "b": "failed", "c": "completed"})
    sent(batch, "again")
    commit_round(batch, 1, [[item for item in batch.plan_chunk("00000") if item.custom_id == "b"]])
    run(batch, {"r1-00000": [row(batch, "b", metadata={"number": 1})]})
    later = collect(batch)
    assert later.generation == 2
    send_on(batch, later, "again")
    first, second = gone_on(batch)
    assert [line["custom_id"] for line in lines(batch, first)] == ["a", "c"]
    assert [line["custom_id"] for line in lines(batch, second)] == ["b"]
    assert (first.batch_id, second.batch_id) == ("numbers-again-A_C", "numbers-again.2-A_C")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wrong", r"then 'wrong': ways:wrong, asked of item 'a', raised ZeroDivisionError"),
        ("nowhere", r"asked of item 'a', returned 'C_A': no flow; there are None and A, "),
        ("seven", r"then.seven.function: ways:seven is no function"),
        ("gone", r"then.gone.function: no function 'gone' in .*ways\.py"),
        ("no_module", r"then.no_module.function: no module 'no_such_module'"),
        ("bad_option", r"then.bad_option.options.enhance: .*scale"),
        ("bad_stage", r"then.bad_stage.options: no stage 'paint'"),
        ("not_there", r"has no table \[then.not_there\]; there are: by_number, "),
    ],
)
def test_a_function_that_is_wrong_is_told_with_its_name_and_nothing_goes_on(store, name, told):
    batch = ended(store, dict.fromkeys(("a", "b"), "completed"))
    with pytest.raises(BadRequest, match=told):
        sent(batch, name)
    assert gone_on(batch) == []


def test_a_picture_that_was_brought_can_not_go_on_as_a_prompt(store):
    batch = ended(store, {"a": "completed"}, flow="B_C")
    with pytest.raises(BadRequest, match="item 'a' can't go on to A_C: that takes a prompt, it has none"):
        sent(batch, "again")


def test_it_is_asked_for_as_its_batch_was_with_the_options_of_the_route_over_it(store):
    options = {"generate": {"steps": 2}, "inspect": {"max_nsfw": 0.9, "min_sharpness": 1}}
    batch = ended(store, dict.fromkeys(("a", "b"), "completed"), options=options, max_failed_ratio=0.5)
    sent(batch, "by_name")
    for onward in gone_on(batch):
        conf = conf_of(batch, onward)
        assert (conf["batch_id"], conf["flow"], conf["source"]) == (
            onward.batch_id, onward.flow, onward.source,
        )  # fmt: skip
        assert (conf["max_failed_ratio"], conf["options"]["inspect"]) == (
            0.5,
            {"max_nsfw": 0.5, "min_sharpness": 1},
        )
        assert conf["options"].keys() - {"inspect"} == {"enhance" if onward.flow == "B_C" else "generate"}


def test_a_name_that_another_batch_has_is_refused(store):
    batch = ended(store, {"a": "completed"})
    sent(batch, "again")
    (onward,) = gone_on(batch)
    refuse_taken(batch, onward)
    plan(store, [["x"]], batch_id=onward.batch_id)
    with pytest.raises(BadRequest, match=f"there is another batch '{onward.batch_id}'"):
        refuse_taken(batch, onward)


def test_the_pictures_of_a_batch_are_the_source_of_the_next(store):
    batch = ended(store, dict.fromkeys(("a", "b"), "completed"))
    sent(batch, "by_name")
    onward = next(onward for onward in gone_on(batch) if onward.flow == "B_C")
    following = Batch(store, onward.batch_id)
    conf = conf_of(batch, onward)
    index = plan_batch(following, conf, settings())
    assert (index.items, index.rejects) == (1, 0)
    (item,) = following.plan_chunk(index.chunk_ids[0])
    assert read_input(item.image, [*settings().input_roots, store.uri("images")]) == picture(0)
    assert plan_batch(following, conf, settings()) == index


def test_no_list_of_a_users_may_name_a_picture_of_the_store(store, tmp_path, monkeypatch):
    batch = ended(store, {"a": "completed"})
    image = next(rows(batch, collect(batch))).image_uri
    mine, path = Batch(store, "mine"), tmp_path / "inputs" / "mine.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({"custom_id": "x", "image": image}))
    monkeypatch.setenv("DARKROOM_SOURCE_ROOTS", json.dumps([str(path.parent)]))
    settings.cache_clear()
    plan_batch(mine, {"flow": "B_C", "source": str(path)}, settings())
    assert [(reject.field, reject.custom_id) for reject in rejects_of(mine)] == [("image", "x")]


@pytest.mark.parametrize(
    "source",
    [
        "{0}/batches/b1/manifests/0001/manifest.jsonl",
        "{0}/batches/b1/then/../rejects.jsonl",
        "{0}/batches/../then/x.jsonl",
        "{0}/batches/b1/then",
        "{0}er/batches/b1/then/parity/x.jsonl",
        "s3://other/batches/b1/then/parity/x.jsonl",
    ],
)
def test_of_the_store_only_such_lists_are_sources(store, source):
    assert roots_of(source.format(store.url), ["r"], store.url) == ["r"]
    held = f"{store.url}/batches/b1/then/parity/0001-B_C-01234567.jsonl"
    assert roots_of(held, ["r"], store.url) == [
        "r", f"{store.url}/batches/b1/then", f"{store.url}/images"
    ]  # fmt: skip


@given(
    batch_id=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z"),
    name=st.from_regex(r"\A[a-z][a-z0-9_]{0,30}\Z"),
    generation=st.integers(1, 9999),
    flow=st.from_regex(r"\A[A-Za-z][A-Za-z0-9_]{0,60}\Z"),
)
def test_what_goes_on_has_a_name_that_a_batch_may_have(batch_id, name, generation, flow):
    TypeAdapter(BatchId).validate_python(batch_id_of(batch_id, name, generation, flow))
    assert batch_id_of(batch_id, name, generation, flow) != batch_id_of(batch_id, name, generation + 1, flow)


def test_the_example_of_the_page_sends_odd_one_way_and_even_the_other(store, monkeypatch):
    page = (REPOSITORY / "docs" / "how-to" / "branch-on-results.md").read_text()
    code = REPOSITORY / "examples" / "custom"
    assert (code / "parity.py").read_text() in page
    table = tomllib.loads(re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1])
    monkeypatch.setenv("DARKROOM_CODE", str(code))
    monkeypatch.setenv("DARKROOM_THEN", json.dumps(table["then"]))
    settings.cache_clear()
    batch = ended(store, {"a": "completed"}, flow="A")
    ask, summary = ask_of("parity"), collect(batch)
    (one,) = rows(batch, summary)
    assert ask(one.model_copy(update={"bytes": 333}), summary) == "B_C"
    assert ask(one.model_copy(update={"bytes": 334}), summary) == "A_C"


def test_a_look_at_the_batch_tells_what_has_gone_on(store):
    batch = ended(store, dict.fromkeys(("a", "b"), "completed"))
    sent(batch, "by_name")
    seen = Sight.of(batch, Lookout.at(""), Run("numbers", "success", {}))
    assert [onward.flow for onward in seen.then] == ["A_C", "B_C"]
    assert Sight.read(json.loads(json.dumps(seen.told))).then == gone_on(batch)
