"""How an API's pages are asked for and read, as its table says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from darkroom.errors import PageRefused
from darkroom.paging import OurField, Paged, at, is_url, paged, under
from darkroom.records import Item

ROOT = "https://api.example.com/v1/prompts"
NUMBERED = {"root": ROOT, "items": "data", "page_param": "page", "count": "meta.pages"}
CHAIN = {"root": ROOT, "items": "data", "next": "links.next"}


@pytest.mark.parametrize(
    "url",
    [
        ROOT,
        f"{ROOT}/",
        f"{ROOT}?day=2026-11-20",
        f"{ROOT}/red?a=b&c=%20",
        "https://api.example.com:443/v1/prompts/a",
        "https://API.example.com/v1/prompts",
    ],
)
def test_what_lies_under_the_root_is_taken(url):
    assert under(ROOT, url)
    assert paged(url, {"a": Paged(**CHAIN)})


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1",
        f"{ROOT}er",
        "http://api.example.com/v1/prompts",
        "https://api.example.com:444/v1/prompts",
        "https://api.example.com.evil.org/v1/prompts",
        "https://api.example.com@evil.org/v1/prompts",
        "https://user@api.example.com/v1/prompts",
        f"{ROOT}/../admin",
        f"{ROOT}/%2e%2e/admin",
        f"{ROOT}/%252e%252e/admin",
        f"{ROOT}/..%2fadmin",
        f"{ROOT}/..\\admin",
        f"{ROOT}/a b",
        f"{ROOT}/a\n",
        "https://api.example.com:99999/v1/prompts",
        "//api.example.com/v1/prompts",
        "file:///v1/prompts",
        "",
    ],
)
def test_what_leads_out_of_the_root_is_not(url):
    assert not under(ROOT, url)


@given(st.text())
def test_no_text_breaks_the_look_at_a_url(text):
    assert not under(ROOT, text) or text.lower().startswith("https://api.example.com")
    assert not is_url(text) or text.startswith("http")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"root": "api.example.com/v1", "next": "n"}, "root"),
        ({"root": f"{ROOT}?key=1", "next": "n"}, "root"),
        ({"root": "https://me:pw@api.example.com/", "next": "n"}, "root"),
        ({"root": ROOT}, "either page_param"),
        ({**NUMBERED, "next": "n"}, "either page_param"),
        ({**NUMBERED, "count": None}, "belong together"),
        ({**CHAIN, "page_size": 10}, "belong together"),
        ({**NUMBERED, "cursor_param": "c"}, "cursor_param without next"),
        ({**CHAIN, "fields": {"prompt": "text"}}, "custom_id"),
        ({**CHAIN, "fields": {"custom_id": "id", "promt": "text"}}, "promt"),
        ({**CHAIN, "max_pages": 5000}, "max_pages"),
        ({**CHAIN, "max_missing_ratio": 2}, "max_missing_ratio"),
        ({**CHAIN, "pages": 1}, "pages"),
        ({**CHAIN, "networks": ["*.example.com"]}, "networks"),
    ],
)
def test_a_table_that_can_not_work_is_refused(table, told):
    with pytest.raises(ValidationError, match=told):
        Paged(**table)


def test_our_fields_are_those_of_an_item():
    assert set(OurField.__args__) == set(Item.model_fields)


def test_a_numbered_page_has_its_number_in_the_query_and_keeps_the_rest():
    api = Paged(**NUMBERED, first_page=0)
    assert api.url(f"{ROOT}?q=red+dot&page=7", 1) == f"{ROOT}?q=red+dot&page=0"
    assert api.url(ROOT, 3) == f"{ROOT}?page=2"


@pytest.mark.parametrize(("told", "pages"), [(0, 0), (1, 1), (100, 1), (101, 2), (250, 3)])
def test_a_count_of_items_is_one_of_pages_by_the_page_size(told, pages):
    assert Paged(**NUMBERED, page_size=100).count_in({"meta": {"pages": told}}) == pages


@pytest.mark.parametrize(
    "answer", [{}, [], None, {"meta": 3}, *({"meta": {"pages": told}} for told in ("3", True, -1, None, 2.0))]
)
def test_an_answer_without_a_count_is_refused(answer):
    with pytest.raises(PageRefused, match="no count"):
        Paged(**NUMBERED).count_in(answer)


@pytest.mark.parametrize(
    ("told", "url"),
    [
        (None, None),
        ("", None),
        ("?cursor=2", f"{ROOT}?cursor=2"),
        ("/v1/prompts/2", f"{ROOT}/2"),
        ("https://evil.example.com/", "https://evil.example.com/"),
    ],
)
def test_an_answer_leads_to_the_next_page(told, url):
    assert Paged(**CHAIN).next_in({"links": {"next": told}}, ROOT, ROOT) == url


def test_a_token_goes_into_the_query_of_the_source():
    api = Paged(root=ROOT, next="next_token", cursor_param="after")
    answer = {"next_token": "a b&c=d"}
    assert api.next_in(answer, f"{ROOT}?q=1", f"{ROOT}?q=1&after=old") == f"{ROOT}?q=1&after=a+b%26c%3Dd"
    assert api.next_in({"next_token": 7}, ROOT, ROOT) == f"{ROOT}?after=7"


@pytest.mark.parametrize("told", [True, {}, ["x"], 1.5, "x" * 3000])
def test_what_is_neither_address_nor_token_is_refused(told):
    with pytest.raises(PageRefused):
        Paged(**CHAIN).next_in({"links": {"next": told}}, ROOT, ROOT)


def test_their_fields_become_ours_and_the_rest_is_left_out():
    api = Paged(**CHAIN, fields={"custom_id": "id", "prompt": "spec.text", "seed": "seed"})
    answer = {"data": [{"id": 7, "spec": {"text": "red"}, "price": 3, "seed": None}, "odd", {"id": True}]}
    assert api.items_in(answer) == [{"custom_id": "7", "prompt": "red"}, "odd", {"custom_id": True}]


def test_without_a_map_their_items_are_ours():
    assert Paged(root=ROOT, next="n").items_in([{"custom_id": "a"}]) == [{"custom_id": "a"}]
    with pytest.raises(PageRefused, match="no list"):
        Paged(root=ROOT, next="n").items_in({})
    with pytest.raises(PageRefused, match="no list of items at 'data'"):
        Paged(**CHAIN).items_in({"data": {}})


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_looking_into_any_answer_finds_something_or_nothing(answer):
    at(answer, "a.b.c")
    assert at(answer, "") == answer
