"""Many files by one name, packed in any way: each line is found, and what is broken is refused by name."""

import bz2
import gzip
import json
import lzma
from fnmatch import fnmatchcase

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.plant import rejects_of

from darkroom.errors import BadRequest, SourceChanged, SourceNotAllowed
from darkroom.flows import FLOWS
from darkroom.plans.intake import plan_batch
from darkroom.records import Item
from darkroom.settings import Settings
from darkroom.sources import from_here, open_source, read
from darkroom.sources.files import Format, format_of
from darkroom.sources.globs import local_matches, matching, split_glob
from darkroom.sources.streams import XZ_MEMORY_BYTES
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store

PACKERS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def lines(*ids):
    return "".join(json.dumps({"custom_id": custom_id, "prompt": "x"}) + "\n" for custom_id in ids).encode()


def found(uri, root, flow="A"):
    """What is at each file and line: the id of an item, the reason of a reject."""
    reading = read(open_source(uri, [str(root)]), FLOWS[flow])
    return [
        (reading.name(file), line, what.custom_id if isinstance(what, Item) else what.reason)
        for file, line, what in reading
    ]


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("kind", ["jsonl", "ndjson", "csv"])
def test_a_packed_file_says_the_same_as_one_that_is_not(tmp_path, suffix, kind):
    data = b"custom_id,prompt\na,x\nb,x" if kind == "csv" else lines("a", "b").rstrip()
    (tmp_path / f"x.{kind}{suffix}").write_bytes(PACKERS[suffix](data))
    assert [what for _, _, what in found(f"x.{kind}{suffix}", tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("suffix", PACKERS)
def test_what_was_packed_in_pieces_is_read_to_its_end(tmp_path, suffix):
    pack = PACKERS[suffix]
    (tmp_path / f"x.jsonl{suffix}").write_bytes(pack(lines("a")) + pack(lines("b")))
    assert [what for _, _, what in found(f"x.jsonl{suffix}", tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_file_that_is_cut_off_or_damaged_is_refused_as_a_whole(tmp_path, suffix):
    whole = PACKERS[suffix](lines(*map(str, range(10_000))))
    middle = len(whole) // 2
    path = tmp_path / f"x.jsonl{suffix}"
    broken = [b"", whole[:1], whole[:middle], whole[:-1], b"no archive at all"]
    if suffix != ".zst":  # whose checksum is optional, and pyarrow writes none
        broken.append(whole[:middle] + b"damaged" + whole[middle + 7 :])
    for data in broken:
        path.write_bytes(data)
        with pytest.raises(BadRequest, match=r"x\.jsonl.* is cut off or damaged after line"):
            found(path.name, tmp_path)


def test_a_bomb_is_read_a_block_at_a_time(tmp_path):
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(b" " * 50_000_000 + b"\n" + lines("a")))
    ((_, _, too_long), (_, line, last)) = found("x.jsonl.gz", tmp_path)
    assert "longer than 1,000,000 bytes" in too_long
    assert (line, last) == (2, "a")


def test_an_xz_that_wants_too_much_memory_is_refused(tmp_path):
    greedy = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2 * XZ_MEMORY_BYTES}]
    (tmp_path / "x.jsonl.xz").write_bytes(lzma.compress(lines("a"), filters=greedy))
    with pytest.raises(BadRequest, match="damaged after line 0: Memory usage limit"):
        found("x.jsonl.xz", tmp_path)


def test_an_empty_file_has_no_lines(tmp_path):
    (tmp_path / "x.jsonl").touch()
    assert found("x.jsonl", tmp_path) == []


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + lines("a", "b"),
        lines("a", "b").replace(b"\n", b"\r\n"),
        lines("a", "b").rstrip(),
        b"\n\n" + lines("a") + b"\r\n" + lines("b") + b"\n",
    ],
)
def test_byte_order_marks_and_ends_of_lines_make_no_difference(tmp_path, data):
    (tmp_path / "x.jsonl").write_bytes(data)
    assert [what for _, _, what in found("x.jsonl", tmp_path)] == ["a", "b"]


def test_only_a_newline_ends_a_line(tmp_path):
    odd = "a\u2028b\u2029c\x85d"
    (tmp_path / "x.jsonl").write_text(json.dumps({"custom_id": odd, "prompt": odd}, ensure_ascii=False))
    (tmp_path / "x.csv").write_text(f"custom_id,prompt\n{odd},{odd}\n")
    for name in ("x.jsonl", "x.csv"):
        assert [what for _, _, what in found(name, tmp_path)] == [odd]


def test_a_glob_reads_files_of_any_kind_in_the_order_of_their_names(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "day-2.jsonl.gz").write_bytes(gzip.compress(lines("c") + b"{\n"))
    (tmp_path / "day-1.csv").write_text("custom_id,prompt\na,x\nb,x\n")
    (tmp_path / "day-3.jsonl").mkdir()  # folders are no matches
    pq.write_table(pa.table({"custom_id": ["d"], "prompt": ["x"]}), tmp_path / "sub" / "day-4.parquet")
    (tmp_path / ".day-5.jsonl").write_bytes(lines("hidden"))
    assert [place[:2] for place in found("day-*", tmp_path)] == [
        ("day-1.csv", 2),
        ("day-1.csv", 3),
        ("day-2.jsonl.gz", 1),
        ("day-2.jsonl.gz", 2),
    ]
    assert [what for _, _, what in found("**/*.*", tmp_path)][::4] == ["a", "d"]
    assert found("sub/*", tmp_path) == [("day-4.parquet", 1, "d")]


def test_ids_are_unique_over_all_files_and_rejects_say_where(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "1.jsonl").write_bytes(lines("a", "b"))
    (inputs / "2.jsonl").write_bytes(b"{\n" + lines("b", "c"))
    (inputs / "3.jsonl").write_bytes(lines("a"))
    batch = Batch(open_store((tmp_path / "store").as_uri()), "b1")
    params = {"flow": "A", "source": str(inputs / "*.jsonl")}
    index = plan_batch(batch, params, Settings(source_roots=[str(inputs)]))
    assert (index.items, index.rejects) == (3, 3)
    assert [(reject.source, reject.line, reject.custom_id) for reject in rejects_of(batch)] == [
        ("2.jsonl", 1, None),
        ("2.jsonl", 2, "b"),
        ("3.jsonl", 1, "a"),
    ]


def test_a_file_that_is_refused_as_a_whole_is_named_and_refuses_all(tmp_path):
    (tmp_path / "1.csv").write_text("custom_id,prompt\na,x\n")
    (tmp_path / "2.csv").write_text("custom_id,promt\nb,x\n")
    with pytest.raises(BadRequest, match=r"2\.csv: CSV header: unknown column 'promt'"):
        found("*.csv", tmp_path)


def test_a_match_that_is_no_source_is_told_by_name(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines("a"))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BadRequest, match=r"notes\.txt is neither"):
        found("*", tmp_path)


def test_a_glob_over_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.jsonl").write_bytes(lines("a"))
    (tmp_path / "in" / "x.jsonl").symlink_to(tmp_path / "out.jsonl")
    with pytest.raises(SourceNotAllowed):
        found("*.jsonl", tmp_path / "in")


@pytest.mark.parametrize("change", ["append", "replace", "remove", "shrink"])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "jsonl.gz", "parquet"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, change, kind):
    path = tmp_path / f"x.{kind}"
    ids = [f"i{n}" for n in range(50_000)]
    if kind == "parquet":
        pq.write_table(pa.table({"custom_id": ids, "prompt": ["x"] * len(ids)}), path, row_group_size=1000)
    elif kind == "csv":
        path.write_text("custom_id,prompt\n" + "".join(f"{i},x\n" for i in ids))
    else:
        path.write_bytes(gzip.compress(lines(*ids)) if kind.endswith("gz") else lines(*ids))
    reading = iter(read(open_source(path.name, [str(tmp_path)]), FLOWS["A"]))
    next(reading)
    match change:
        case "append":
            with path.open("ab") as file:
                file.write(lines("more"))
        case "replace":
            (tmp_path / "new").write_bytes(path.read_bytes())
            (tmp_path / "new").rename(path)
        case "remove":
            path.unlink()
        case "shrink":
            path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(SourceChanged):
        list(reading)


def test_a_file_that_is_gone_before_its_turn_is_a_change(tmp_path):
    for name in ("1.jsonl", "2.jsonl"):
        (tmp_path / name).write_bytes(lines(name))
    reading = iter(read(open_source("*.jsonl", [str(tmp_path)]), FLOWS["A"]))
    next(reading)
    (tmp_path / "2.jsonl").unlink()
    with pytest.raises(SourceChanged):
        list(reading)


def test_a_fingerprint_of_many_follows_names_and_bytes(tmp_path):
    def fingerprint():
        reading = read(open_source("*.jsonl", [str(tmp_path)]), FLOWS["A"])
        assert list(reading)
        return reading.fingerprint

    (tmp_path / "1.jsonl").write_bytes(lines("a"))
    prints = [fingerprint()]
    (tmp_path / "2.jsonl").write_bytes(lines("b"))
    prints.append(fingerprint())
    (tmp_path / "2.jsonl").rename(tmp_path / "3.jsonl")
    prints.append(fingerprint())
    (tmp_path / "3.jsonl").write_bytes(lines("c"))
    prints.append(fingerprint())
    assert len(set(prints)) == 4


def test_what_a_person_names_is_meant_as_seen_from_where_they_stand(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    here = tmp_path.resolve()
    assert from_here("in/a.jsonl") == f"{here}/in/a.jsonl"
    assert from_here("in/*.jsonl") == f"{here}/in/*.jsonl"
    assert from_here("*/a.jsonl") == f"{here}/*/a.jsonl"
    for uri in ("elsewhere/*.jsonl", "missing.jsonl", "s3://bucket/*", "file:///x/*", "x" * 300, "a\0"):
        assert from_here(uri) == uri


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.jsonl", Format("jsonl")),
        ("a.b.NDJSON", Format("jsonl")),
        ("a.csv.gz", Format("csv", ".gz")),
        ("a.jsonl.ZST", Format("jsonl", ".zst")),
        ("a.parquet", Format("parquet")),
        ("a.snappy.parquet", Format("parquet")),
        ("a.parquet.gz", None),
        ("a.gz", None),
        ("gz", None),
        ("a.txt.gz", None),
        ("jsonl", None),
        ("a.jsonl.gz.gz", None),
    ],
)
def test_a_name_says_what_is_in_it(name, form):
    assert format_of(name) == form


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*.csv", ["a.csv"]),
        ("**", ["a.csv", "d/b.csv", "d/e/c.csv", "d/e/c.txt"]),
        ("**/*.csv", ["a.csv", "d/b.csv", "d/e/c.csv"]),
        ("d/**/*.csv", ["d/b.csv", "d/e/c.csv"]),
        ("*/?.csv", ["d/b.csv"]),
        ("d/[!x].csv", ["d/b.csv"]),
        ("**/.h/*", [".h/x.csv"]),
        ("x*", []),
    ],
)
def test_a_pattern_matches_the_same_on_disk_as_in_a_store(tmp_path, pattern, matches):
    names = ["a.csv", "d/b.csv", "d/e/c.csv", "d/e/c.txt", ".h/x.csv", "d/.h.csv"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(matching(names, pattern)) == matches
    assert sorted(local_matches(tmp_path, pattern)) == matches


def test_many_stars_take_no_longer_than_few(tmp_path):
    deep = "a/" * 60
    (tmp_path / deep).mkdir(parents=True)
    (tmp_path / deep / "x.csv").touch()
    for stars in ("**/" * 60, "**/*/" * 30, "**/a/" * 30):
        for end, found in (("x.csv", [f"{deep}x.csv"]), ("y.csv", [])):
            assert list(matching([f"{deep}x.csv"], stars + end)) == found
            assert list(local_matches(tmp_path, stars + end)) == found


def test_stars_follow_no_link_but_a_name_does(tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "a.csv").touch()
    (tmp_path / "d" / "e" / "round").symlink_to(tmp_path / "d")
    (tmp_path / "link").symlink_to(tmp_path / "d")
    (tmp_path / "d" / "b.csv").symlink_to(tmp_path / "d" / "e" / "a.csv")
    both = ["d/b.csv", "d/e/a.csv"]
    assert sorted(local_matches(tmp_path, "**/*.csv")) == both
    assert sorted(local_matches(tmp_path, "**/*/*.csv")) == [*both, "d/e/round/b.csv", "link/b.csv"]
    assert sorted(local_matches(tmp_path, "**/link/**/*.csv")) == ["link/b.csv", "link/e/a.csv"]


def reference(names, parts):
    """Whether they match, one place at a time."""
    if not names or not parts:
        return not names and not parts
    if parts[0] == "**":
        return reference(names, parts[1:]) or (names[0][0] != "." and reference(names[1:], parts))
    hidden = names[0][0] == "." and parts[0][0] != "."
    return not hidden and fnmatchcase(names[0], parts[0]) and reference(names[1:], parts[1:])


@given(
    st.lists(st.sampled_from(["a", "ab", ".a", "b"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "*", "**", "?", ".*", "[!a]*"]), max_size=5),
)
def test_all_places_at_once_match_as_one_at_a_time(names, parts):
    found = list(matching(["/".join(names)], "/".join([*parts, "*"])))
    assert bool(found) == reference(names, [*parts, "*"])


@given(st.lists(st.sampled_from(["a", "b*", "**", "c?"]), min_size=1), st.booleans())
def test_a_glob_is_split_where_it_begins_to_be_one(parts, absolute):
    whole = "/" * absolute + "/".join([*parts, "*"])
    folder, pattern = split_glob(whole)
    assert "*" not in folder
    assert "?" not in folder
    assert f"{folder.rstrip('/')}/{pattern}".removeprefix("" if absolute else "/") == whole
