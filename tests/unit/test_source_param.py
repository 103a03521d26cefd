"""What the form takes as a source: a relative path, or what begins with an allowed root."""

import re

import pytest

from darkroom.orchestration.source_param import pattern


@pytest.fixture
def roots(tmp_path):
    (tmp_path / "real root").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real root")
    return [str(tmp_path / "linked"), "s3://bucket/in/"]


@pytest.mark.parametrize(
    "source",
    [
        "examples/prompts.jsonl",
        "day-*/a..b.csv",
        "{0}",
        "{0}/x.csv",
        "file://{0}/x.csv",
        "{1}/x.csv",
        "file://{2}/x.csv",
        "s3://bucket/in",
        "s3://bucket/in/**/*.parquet",
    ],
)
def test_what_may_lie_under_a_root_is_taken(roots, tmp_path, source):
    linked, real = tmp_path / "linked", tmp_path / "real root"
    assert re.search(pattern(roots), source.format(linked, real, str(real).replace(" ", "%20")))


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "{0}er/x.csv",
        "../x.csv",
        "a/../../x.csv",
        "{0}/../x.csv",
        "s3://bucket/inner/x.csv",
        "s3://other/x.csv",
        "http://169.254.169.254/",
        "a\nb",
        "",
    ],
)
def test_what_lies_outside_is_refused_by_its_text(roots, tmp_path, source):
    assert not re.search(pattern(roots), source.format(tmp_path / "linked"))


def test_without_roots_nothing_absolute_is_taken():
    assert not re.search(pattern([]), "/x.csv")
    assert re.search(pattern([]), "x.csv")
