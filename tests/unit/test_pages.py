"""The pages of a batch: fetched from a real HTTP server, written once, planned."""

import pytest
from tests import paging_api
from tests.unit.plant import rejects_of

from darkroom.errors import DarkroomError, PageAway, PageRefused, PagesMissing
from darkroom.paging import Paged
from darkroom.plans.intake import decider
from darkroom.plans.page_plan import plan_page, plan_pages, planned_so_far
from darkroom.plans.pages import Pages
from darkroom.records import BatchRequest
from darkroom.results.outcomes import elapsed_s, snapshot
from darkroom.settings import settings
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store


@pytest.fixture
def api():
    with paging_api.api() as server:
        yield server


@pytest.fixture
def new(api, tmp_path):
    """The pages of a new batch."""
    store = open_store(tmp_path.as_uri())

    def made(kind="numbered", batch_id="b1", flow="A", **more):
        batch = Batch(store, batch_id)
        batch.save_request(BatchRequest(flow=flow, source=f"{api.root}/{kind}?q=x", batch_id=batch_id))
        return Pages(batch, Paged(**getattr(api, kind)(**more)))

    return made


def fetch_all(pages):
    """As the runs of `pages_flow` do, one page after the other; what fails is given up."""
    first = pages.begin_with()
    while first is not None:
        todo = [first]
        for page in todo:
            try:
                got = pages.fetch(page, {})
            except DarkroomError as error:
                pages.give_up(page, str(error), "run1")
                continue
            if pages.api.numbered:
                todo += pages.rest(first) if page == first else []
            elif got.next and page < pages.api.max_pages:
                todo.append(page + 1)
        first = pages.grown(first)
    return pages


def planned(pages):
    batch = pages.batch
    plan_pages(pages, [], decide(pages))
    return [item.custom_id for chunk in batch.planned().chunk_ids for item in batch.plan_chunk(chunk)]


def decide(pages):
    return decider(pages.batch.request().flow, settings(), None, None)


KINDS = pytest.mark.parametrize("kind", ["numbered", "chain"])


@KINDS
def test_all_items_of_all_pages_are_planned_in_their_order(api, new, kind):
    api.fill(3, 0, 2)
    assert planned(fetch_all(new(kind))) == ["p1-1", "p1-2", "p1-3", "p3-1", "p3-2"]
    assert api.asked == {1: 1, 2: 1, 3: 1}


@KINDS
def test_no_items_at_all_are_a_batch_of_none(api, new, kind):
    api.fill(0)
    assert planned(fetch_all(new(kind))) == []


@KINDS
def test_an_item_that_comes_twice_is_planned_once_and_reported(api, new, kind):
    api.fill(2, 2)
    api.pages[0].append(api.pages[0][0])
    api.pages[1].append(api.pages[0][1])
    pages = fetch_all(new(kind))
    assert planned(pages) == ["p1-1", "p1-2", "p2-1", "p2-2"]
    assert [(reject.source, reject.line, reject.custom_id) for reject in rejects_of(pages.batch)] == [
        ("page 00001", 3, "p1-1"),
        ("page 00002", 3, "p1-2"),
    ]
    assert pages.batch.planned().rejects == 2


@KINDS
def test_what_is_no_item_is_reported_with_its_page_and_place(api, new, kind):
    api.fill(1, 1)
    api.pages[1] += [{"id": "x"}, "odd", {"id": "y", "text": ""}, {"id": "z", "text": "\ud800"}]
    pages = fetch_all(new(kind))
    assert planned(pages) == ["p1-1", "p2-1"]
    assert [(reject.source, reject.line) for reject in rejects_of(pages.batch)] == [
        ("page 00002", line) for line in (2, 3, 4, 5)
    ]


@KINDS
def test_pages_that_are_there_are_not_asked_for_again(api, new, kind):
    api.fill(1, 1, 1)
    api.answers[3] = [404]
    pages = fetch_all(new(kind))
    assert pages.missing() == {3: "answers 404"}
    assert planned(fetch_all(pages)) == ["p1-1", "p2-1", "p3-1"]
    assert api.asked == {1: 1, 2: 1, 3: 2}


@KINDS
def test_a_missing_page_fails_all_or_is_skipped_or_is_borne_up_to_a_ratio(api, new, kind):
    for number, ratio in enumerate([0.0, 0.3, 0.4, 1.0]):
        api.fill(1, 1, 1)
        api.answers[3] = [404]
        pages = fetch_all(new(kind, f"b{number}", max_missing_ratio=ratio))
        if ratio < 0.34:
            with pytest.raises(PagesMissing, match=r"1 of 3 pages of .*: page 3 answers 404"):
                planned(pages)
            assert pages.batch.index() is None
        else:
            assert planned(pages) == ["p1-1", "p2-1"]
            (reject,) = rejects_of(pages.batch)
            assert (reject.source, reject.line, reject.reason) == (
                "page 00003", 0, "the page is missing: answers 404",
            )  # fmt: skip
            assert pages.batch.planned().rejects == 1


@KINDS
def test_without_the_first_page_nothing_is_planned_whatever_the_ratio(api, new, kind):
    api.fill(1)
    api.answers[1] = [404]
    with pytest.raises(PagesMissing, match="1 of 1"):
        planned(fetch_all(new(kind, max_missing_ratio=1)))


def test_numbered_pages_that_came_meanwhile_are_fetched_too(api, new):
    api.fill(1, 1, 1, 1, 1)
    api.count = {1: 2, 2: 3, 3: 3, 4: 5, 5: 5}
    pages = new()
    assert planned(fetch_all(pages)) == ["p1-1", "p2-1", "p3-1"]


@pytest.mark.parametrize("count", [0, 1])
def test_a_count_of_none_or_one_leads_nowhere(api, new, count):
    api.fill(1)
    api.count = count
    assert planned(fetch_all(new())) == ["p1-1"]
    assert api.asked == {1: 1}


def test_fewer_numbered_pages_than_told_are_empty_or_missing(api, new):
    api.fill(1, 1)
    api.count = 4
    api.answers[4] = [404]
    pages = fetch_all(new(max_missing_ratio=0.25))
    assert planned(pages) == ["p1-1", "p2-1"]
    assert list(pages.missing()) == [4]


@KINDS
def test_pages_beyond_max_pages_are_missing_and_not_asked_for(api, new, kind):
    api.fill(1, 1, 1, 1)
    pages = fetch_all(new(kind, max_pages=2, max_missing_ratio=0.5))
    assert api.asked == {1: 1, 2: 1}
    assert list(pages.missing()) == [3]
    assert planned(pages) == ["p1-1", "p2-1"]
    with pytest.raises(PagesMissing, match="come after max_pages 2"):
        planned(fetch_all(new(kind, "b2", max_pages=2)))


def test_a_count_of_any_size_is_no_burden(api, new):
    api.fill(1)
    api.count = 10**12
    pages = new(max_pages=3)
    pages.fetch(1, {})
    assert pages.rest(1) == [2, 3]
    with pytest.raises(PagesMissing, match="of 1000000000000 pages"):
        planned(pages)


@pytest.mark.parametrize("back_to", [1, 2, 3])
def test_a_chain_that_goes_round_in_a_circle_is_broken(api, new, back_to):
    api.fill(1, 1, 1)
    query = "?q=x" if back_to == 1 else f"?cursor=c{back_to}"
    api.answers[3] = [{"next": f"/v1/chain{query}"}]
    pages = fetch_all(new("chain", max_missing_ratio=0.25))
    assert pages.missing() == {4: f"is page {back_to} again: the pages go round in a circle"}
    assert planned(pages) == ["p1-1", "p2-1", "p3-1"]
    assert sum(api.asked.values()) == 3


@pytest.mark.parametrize(
    "where", ["http://evil.example.com/v1", "/v2/chain", "/v1/../admin", "//127.0.0.1/v1"]
)
def test_a_chain_that_leads_out_of_its_root_is_broken(api, new, where):
    api.fill(1)
    api.answers[1] = [{"next": where}]
    pages = fetch_all(new("chain", max_missing_ratio=1))
    assert "does not lie under" in pages.missing()[2]
    assert planned(pages) == ["p1-1"]


def test_a_page_that_fails_is_not_kept(api, new):
    api.fill(1)
    api.answers[1] = [500, b"x", {"data": 3}, {"meta": {}}]
    pages = new()
    for error in (PageAway, PageRefused, PageRefused, PageRefused):
        with pytest.raises(error):
            pages.fetch(1, {})
    assert pages.there() == []
    assert pages.fetch(1, {}).items == 1


def test_the_first_who_writes_a_page_wins(api, new):
    api.fill(1)
    pages, other = new(), new()
    api.fill(2)
    first = other.fetch(1, {})
    api.fill(5)
    pages.batch.store.create(f"batches/b1/pages/{first.file}", b"other")
    assert pages.fetch(1, {}) == first
    assert planned(pages) == ["p1-1", "p1-2"]


def test_a_page_of_a_chain_is_planned_before_the_next_is_there(api, new):
    api.fill(2, 3)
    pages = new("chain")
    first = plan_page(pages, pages.fetch(1, {}), [], decide(pages))
    assert first.items == 2
    assert all(chunk.startswith("p00001-") for chunk in first.chunk_ids)
    before = pages.batch.store.read(pages.batch.plan_chunk_path(first.chunk_ids[0]))
    second = plan_page(pages, pages.fetch(2, {}), [], decide(pages))
    assert planned_so_far(pages.batch, 2).items == 5
    plan_pages(pages, [], decide(pages))
    assert pages.batch.planned().chunk_ids == first.chunk_ids + second.chunk_ids
    assert pages.batch.store.read(pages.batch.plan_chunk_path(first.chunk_ids[0])) == before
    assert plan_page(pages, pages.fetch(1, {}), [], decide(pages)) == first


def test_a_page_is_planned_after_those_before_it_whoever_was_killed_in_between(api, new):
    api.fill(1, 1, 1)
    api.pages[2].append(api.pages[0][0])
    pages = new("chain")
    *_, last = (pages.fetch(page, {}) for page in (1, 2, 3))
    assert plan_page(pages, last, [], decide(pages)).sizes == [1]
    assert planned_so_far(pages.batch, 3).items == 3
    assert planned(pages) == ["p1-1", "p2-1", "p3-1"]


def test_the_time_of_a_chain_begins_with_its_first_page(api, new):
    api.fill(1)
    pages = new("chain")
    index = plan_page(pages, pages.fetch(1, {}), [], decide(pages))
    pages.batch.store.create(pages.batch.part_path("generate", index.chunk_ids[0]), b"x")
    plan_pages(pages, [], decide(pages))
    assert elapsed_s(pages.batch, snapshot(pages.batch)) >= 0


def test_the_last_reason_counts(api, new):
    api.fill(1, 1)
    pages = new()
    pages.fetch(1, {})
    assert pages.missing() == {2: "was not fetched"}
    pages.give_up(2, "answers 404", "run1")
    pages.give_up(2, "answers 410", "run2")
    assert pages.missing() == {2: "answers 410"}


def test_pictures_that_an_api_names_must_lie_under_a_source_root(api, new, tmp_path):
    (tmp_path / "roots").mkdir()
    (tmp_path / "roots" / "a.png").write_bytes(b"png")
    (tmp_path / "store.png").write_bytes(b"png")
    api.pages = [
        [
            {"id": "good", "file": str(tmp_path / "roots" / "a.png")},
            {"id": "store", "file": str(tmp_path / "store.png")},
            {"id": "relative", "file": "00001.json"},
            {"id": "web", "file": "http://127.0.0.1/a.png"},
        ]
    ]
    pages = new(flow="B_C", fields={"custom_id": "id", "image": "file"})
    pages.fetch(1, {})
    plan_pages(pages, [str(tmp_path / "roots")], decide(pages))
    assert pages.batch.planned().items == 1
    assert [reject.field for reject in rejects_of(pages.batch)] == ["image"] * 3
