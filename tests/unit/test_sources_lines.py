"""Good lines become items; each bad line becomes one reject that says where and why; the rest goes on."""

import io
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bad_lines import BAD_LINES

from darkroom.errors import BadRequest, SourceChanged
from darkroom.flows import FLOWS
from darkroom.records import Item, Reject
from darkroom.sources import open_source, read
from darkroom.sources.csv_rows import read_csv
from darkroom.sources.jsonl_lines import read_jsonl
from darkroom.sources.lines import MAX_LINE_BYTES, BadLine, Checker

GOOD = b'{"custom_id":"a","prompt":"x"}'


def jsonl(data, flow="A"):
    return lines_of(read_jsonl(io.BytesIO(data), Checker(FLOWS[flow], Path("/nowhere"), [])))


def csv(data, flow="A"):
    return lines_of(read_csv(io.BytesIO(data), Checker(FLOWS[flow], Path("/nowhere"), [])))


def lines_of(found):
    return [line if isinstance(line, Item) else line.reject(number) for number, line in found]


def told(lines):
    """What a person sees: ids of items, line and field of rejects."""
    return [line.custom_id if isinstance(line, Item) else (line.line, line.field) for line in lines]


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        GOOD + b"\n",
        GOOD + b"\r\n",
        b"\xef\xbb\xbf" + GOOD,
        b"\n\n  \r\n" + GOOD + b"\n\n",
        b'{"custom_id":"a","prompt":"x","seed":9223372036854775807,"width":64,"options":{"generate":{"steps":4}}}',
        b'{"custom_id":"a","prompt":"x","expires_at":"2030-01-01T00:00:00+02:00","metadata":{"a":[1,{"b":null}]}}',
    ],
)
def test_a_good_line_is_an_item_whatever_the_ends(data):
    (item,) = jsonl(data)
    assert item.custom_id == "a"


@pytest.mark.parametrize(("line", "field", "reason"), BAD_LINES)
def test_a_bad_line_is_one_reject_with_its_place_and_its_neighbours_pass(line, field, reason):
    first, reject, last = jsonl(
        b'{"custom_id":"1","prompt":"x"}\n' + line + b'\n{"custom_id":"3","prompt":"x"}'
    )
    assert (first.custom_id, last.custom_id) == ("1", "3")
    assert isinstance(reject, Reject)
    assert (reject.line, reject.field) == (2, field)
    assert reason in reject.reason
    Reject.model_validate_json(reject.model_dump_json())  # it can be written, whatever came in


def test_a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not():
    def line(length, end):
        head = b'{"custom_id":"%d","prompt":"x","metadata":{"a":"' % length
        return head + b"y" * (length - len(head) - 3) + b'"}}' + end

    for end in (b"\n", b"\r\n"):
        data = b"\xef\xbb\xbf" + line(MAX_LINE_BYTES, end) + line(MAX_LINE_BYTES + 1, end) + GOOD
        assert told(jsonl(data)) == [str(MAX_LINE_BYTES), (2, None), "a"]


def test_a_huge_line_is_never_held_whole():
    class Counting(io.RawIOBase):
        left, asked = 300_000_000, 0

        def readline(self, size=-1):
            assert 0 < size < 2_000_000
            Counting.asked += 1
            part = min(size, self.left)
            self.left -= part
            return b"x" * part

    ((number, bad),) = read_jsonl(Counting(), Checker(FLOWS["A"], Path("/nowhere"), []))
    assert number == 1
    assert "longer" in bad.reason
    assert Counting.asked > 100


def test_a_csv_row_of_any_length_is_one_reject_is_not_held_and_is_left_at_its_end():
    class Rows(io.RawIOBase):
        lines = iter([
            b"custom_id,prompt\n",
            b'1,"x\n',
            *[b'evil,no row but ""text""\n' + b'","' + b"y" * 100_000 + b"\n"] * 500,
            b'the end of it"\n',
            b"2,x\n",
            b'3,"never\n',
            *[b'closed","' + b"y" * 100_000 + b"\n"] * 500,
        ])  # fmt: skip
        rest = b""

        def readline(self, size=-1):
            self.rest = self.rest or next(self.lines, b"")
            line, end, self.rest = self.rest.partition(b"\n")
            return line + end

    tracemalloc.start()
    found = lines_of(read_csv(Rows(), Checker(FLOWS["A"], Path("/nowhere"), [])))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert told(found) == [(2, None), "2", (1005, None)]
    assert found[0].reason == "the row is longer than 1,000,000 bytes (lines 2 to 1003)"
    assert found[2].reason == "the row is longer than 1,000,000 bytes (lines 1005 to 1505)"
    assert peak_bytes < 20 * MAX_LINE_BYTES


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_break_the_reading(lines):
    data = b"\n".join([*lines, b'{"custom_id":"last one","prompt":"x"}'])
    *_, last = jsonl(data)
    assert isinstance(last, Item)
    count = sum(bool(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    assert len(jsonl(data)) == count


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "custom_id": st.sampled_from(["a", "", "a\n", 7, "x" * 257]),
        "prompt": st.text(max_size=5) | st.none(),
        "image": st.just("x.png"),
        "seed": st.integers(-1, 2**63) | st.just("5"),
        "width": st.sampled_from([7, 8, 8.0, 4096, True]),
        "options": st.sampled_from([{}, {"generate": {"steps": 4}}, {"generate": {"steps": 0}}, {"x": {}}]),
        "expires_at": st.sampled_from(["2030-01-01T00:00:00Z", "2030-01-01", "soon", 5]),
        "metadata": st.recursive(
            st.none() | st.floats() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3)
        ).map(lambda value: {"a": value}),
        "schema_version": st.sampled_from([1, 99]),
    },
)


@given(FIELDS, st.booleans())
def test_the_short_way_says_what_the_long_way_says(fields, ascii_only):
    line = json.dumps(fields, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    (short,) = jsonl(line)
    try:
        long = Checker(FLOWS["A"], Path("/nowhere"), []).item(json.loads(line), strict=True)
    except BadLine as bad:
        long = bad.reject(1)
    assert short == long


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading_of_csv(data):
    for line in csv(b"custom_id,prompt\n" + data):
        assert isinstance(line, Item) or line.reason


def test_csv_says_the_same_as_jsonl():
    data = (
        b"\xef\xbb\xbfcustom_id,prompt,seed,width,options,metadata,expires_at\r\n"
        b'a,"red, ""big""\nsecond line",5,,"{""generate"":{""steps"":4}}",,2030-01-01T00:00:00Z\r\n'
        b"\r\n"
        b"b,x,,64,,,\r\n"
    )
    same = [
        {
            "custom_id": "a",
            "prompt": 'red, "big"\nsecond line',
            "seed": 5,
            "options": {"generate": {"steps": 4}},
            "expires_at": "2030-01-01T00:00:00Z",
        },
        {"custom_id": "b", "prompt": "x", "width": 64},
    ]
    assert csv(data) == jsonl("\n".join(map(json.dumps, same)).encode())


def test_bad_csv_rows_are_rejects_with_the_line_they_begin_on():
    data = (
        b"custom_id,prompt,seed,metadata\n"
        b'a,"two\nlines",,\n'  # lines 2 and 3
        b"b,x,soon,\n"
        b"c,x,1\n"
        b"d,x,1,,\n"
        b"e,x,,{\n"
        b"f,\xff,,\n"
        b"g,\0,,\n"
        b'h,"x"y,,\n'
        b"i,,,\n"
        b'j,x,,"{""a"": NaN}"\n'
        b"k,x,," + b"y" * (MAX_LINE_BYTES + 1) + b"\n"
        b"z,x,,\n"
    )
    lines = csv(data)
    assert told(lines) == [
        "a",
        (4, "seed"),
        (5, None),
        (6, None),
        (7, "metadata"),
        (8, "prompt"),
        (9, "prompt"),
        (10, None),
        (11, None),
        (12, None),
        (13, None),
        "z",
    ]


def test_an_open_quote_costs_the_lines_it_swallows_and_they_are_named():
    data = b'custom_id,prompt\na,"x\nb,x\nc,"y"\nd,x\n'
    lines = csv(data)
    assert told(lines) == [(2, None), "d"]
    assert "lines 2 to 4" in lines[0].reason
    assert told(csv(b'custom_id,prompt\na,x\nb,"open\n')) == ["a", (3, None)]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"", "empty"),
        (b"custom_id,promt\n", "unknown column 'promt'"),
        (b"prompt\n", "no column custom_id"),
        (b"custom_id;prompt\n", "separated by commas"),
        (b"custom_id,prompt,prompt\n", "twice"),
        (b'"custom_id\n', "first line"),
    ],
)
def test_a_header_that_names_no_fields_is_refused_as_a_whole(header, problem):
    with pytest.raises(BadRequest, match=problem):
        csv(header)


def test_trailing_commas_of_a_spreadsheet_do_no_harm():
    assert told(csv(b"custom_id,prompt,,\na,x,,\nb,x,y,\n")) == ["a", (3, None)]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_reading_goes_on_while_the_file_is_read(tmp_path, suffix):
    """The first item is there before the rest is looked at: reading streams."""
    head = "custom_id,prompt\n" if suffix == "csv" else ""
    row = "{n},x\n" if suffix == "csv" else '{{"custom_id":"{n}","prompt":"x"}}\n'
    path = tmp_path / f"s.{suffix}"
    path.write_text(head + "".join(row.format(n=n) for n in range(20_000)))
    lines = iter(read(open_source(str(path), [str(tmp_path)]), FLOWS["A"]))
    _, _, first = next(lines)
    assert first.custom_id == "0"
    path.write_text("")
    with pytest.raises(SourceChanged, match="while it was read"):
        list(lines)
