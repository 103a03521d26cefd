import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.errors import InvalidImage, InvalidItem, ItemError, StageFailed
from darkroom.records import Verdict
from darkroom.serving import wire
from darkroom.serving.messages import (
    CANARY,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from darkroom.stages.base import Output, Request

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)
TEXT = st.text(st.characters(codec="utf-8"), max_size=50)
IDS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=50)
REQUESTS = st.builds(
    Request,
    custom_id=IDS,
    prompt=st.none() | TEXT,
    image=st.binary(max_size=100),
    seed=st.integers(0, 2**63 - 1),
    width=st.none() | st.integers(8, 4096),
    height=st.none() | st.integers(8, 4096),
    options=OBJECTS,
)
OUTPUTS = st.builds(
    Output,
    image=st.binary(max_size=100),
    verdict=st.none()
    | st.builds(Verdict, accepted=st.booleans(), reasons=st.lists(TEXT, max_size=3), checks=OBJECTS),
    details=OBJECTS,
)


@given(OBJECTS, st.binary())
def test_a_frame_comes_back_as_it_went(header, payload):
    assert wire.unpack(wire.pack(header, payload)) == (header, payload)


@given(OBJECTS, st.data())
def test_a_frame_cut_off_in_its_header_is_refused(header, data):
    frame = wire.pack(header)
    with pytest.raises(ValueError, match="frame"):
        wire.unpack(frame[: data.draw(st.integers(0, len(frame) - 1))])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_value_error(data):
    try:
        header, payload = wire.unpack(data)
    except ValueError:
        return
    assert data.endswith(payload)
    assert isinstance(header, dict)


@pytest.mark.parametrize("head", [b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_a_header_that_is_no_json_object_is_refused(head):
    with pytest.raises(ValueError, match=r".+"):
        wire.unpack(struct.pack("<I", len(head)) + head)


def test_a_header_longer_than_the_limit_is_refused():
    head = json.dumps({"a": "x" * wire.MAX_HEADER_BYTES}).encode()
    with pytest.raises(ValueError, match="header length"):
        wire.unpack(struct.pack("<I", len(head)) + head)


@given(REQUESTS)
def test_a_request_comes_back_as_it_went(request):
    assert decode_request(encode_request(request)) == request


@given(OUTPUTS)
def test_an_output_comes_back_as_it_went(output):
    assert decode_answer(encode_answer(output)) == output


@pytest.mark.parametrize("error", [InvalidItem("a"), InvalidImage("b"), StageFailed("c"), ItemError("d")])
def test_an_items_error_comes_back_as_its_class(error):
    with pytest.raises(ItemError) as caught:
        decode_answer(encode_answer(error))
    assert (type(caught.value), str(caught.value)) == (type(error), str(error))


def test_an_error_of_a_code_from_a_newer_version_is_still_the_items_error():
    frame = wire.pack({"error": {"code": "from_the_future", "message": "m"}})
    with pytest.raises(ItemError, match="from_the_future: m") as caught:
        decode_answer(frame)
    assert type(caught.value) is ItemError


def test_a_canary_is_no_request_of_its_own():
    assert decode_request(CANARY) is None


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ({}, "item"),
        ({"item": []}, "item"),
        ({"item": {}}, "item.custom_id"),
        ({"item": {"custom_id": ""}}, "item.custom_id"),
        ({"item": {"custom_id": "a", "sead": 1}}, "item.sead"),
        ({"item": {"custom_id": "a", "seed": -1}}, "item.seed"),
        ({"item": {"custom_id": "a", "seed": "1"}}, "item.seed"),
        ({"item": {"custom_id": "a", "width": 100_000}}, "item.width"),
        ({"item": {"custom_id": "a"}, "options": []}, "options"),
    ],
)
def test_a_request_with_a_wrong_field_names_it(header, field):
    with pytest.raises(InvalidItem, match=f"^{field}: "):
        decode_request(wire.pack(header))
