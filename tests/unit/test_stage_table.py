import pytest

from darkroom.errors import BadRequest
from darkroom.flows import SHIPPED_FLOWS, SHIPPED_STAGES, merge_flows, merge_stages

SEPIA = {
    "summary": "old colours", "implementation": "sepia:Sepia", "model": "sepia@1",
    "takes": "image", "gives": "image", "memory_mb": 200, "seconds_per_item": 0.01,
}  # fmt: skip


def stages(**rows):
    return merge_stages(SHIPPED_STAGES, rows)


def flows(**rows):
    return merge_flows(SHIPPED_FLOWS, rows, stages(sepia=SEPIA))


def test_an_own_stage_stands_beside_the_shipped_ones_with_a_queue_and_a_pool():
    merged = stages(sepia=SEPIA)
    assert list(merged) == ["generate", "enhance", "inspect", "sepia"]
    assert (merged["sepia"].queue, merged["sepia"].pool) == ("gpu.sepia", "gpu_sepia")
    assert merged["generate"] == SHIPPED_STAGES["generate"]


def test_a_row_of_a_shipped_stage_changes_only_what_it_names():
    changed = stages(inspect={"servers": 4})["inspect"]
    assert changed.servers == 4
    assert changed.options == SHIPPED_STAGES["inspect"].options


def test_another_implementation_has_its_own_options():
    row = {"implementation": "mine:Mine", "model": "mine@1"}
    assert stages(generate=row)["generate"].options is None


@pytest.mark.parametrize("row", [{"implementation": "mine:Mine"}, {"config": {"dtype": "fp16"}}])
def test_what_changes_the_pictures_must_change_the_name_of_the_model(row):
    with pytest.raises(BadRequest, match=r"stages\.generate\.model: "):
        stages(generate=row)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"btach_size": 4},
            r"stages\.sepia\.btach_size: there is no such field; there are: summary, .*batch_size",
        ),
        ({"batch_size": 0}, r"stages\.sepia\.batch_size: .*greater"),
        ({"implementation": "no colon"}, r"stages\.sepia\.implementation: "),
        ({"takes": "video"}, r"stages\.sepia\.takes: .*'prompt' or 'image'"),
        ({"model": None}, r"stages\.sepia\.model: "),
    ],
)
def test_a_wrong_field_is_named_with_its_row(change, told):
    with pytest.raises(BadRequest, match=told):
        stages(sepia={**SEPIA, **change})


def test_a_missing_field_is_named():
    with pytest.raises(BadRequest, match=r"stages\.sepia\.memory_mb: "):
        stages(sepia={name: value for name, value in SEPIA.items() if name != "memory_mb"})


def test_a_stage_name_that_makes_no_queue_is_refused():
    with pytest.raises(BadRequest, match=r"stages\.Sepia: "):
        stages(Sepia=SEPIA)


def test_an_own_flow_is_one_line():
    merged = flows(A_S={"summary": "in sepia", "stages": ["generate", "sepia"]})
    assert list(merged) == ["A", "A_C", "B_C", "A_S"]
    assert merged["A_S"].stages == ("generate", "sepia")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"stages": ["generate", "sepai"]}, "no stage 'sepai'; there are: generate, enhance, inspect, sepia"),
        ({"stages": []}, r"flows\.X\.stages: "),
        ({"stages": ["enhance", "generate"]}, "generate takes a prompt, so it can only stand first"),
        ({"stages": ["sepia", "sepia"]}, "only once"),
        ({"stages": ["sepia"], "colour": 1}, r"flows\.X\.colour: "),
    ],
)
def test_a_flow_that_can_not_run_is_refused_with_the_reason(row, told):
    with pytest.raises(BadRequest, match=told):
        flows(X={"summary": "x", **row})


def test_flows_whose_groups_would_collide_are_refused():
    with pytest.raises(BadRequest, match="differs from flow A_C only in"):
        flows(a_c={"summary": "x", "stages": ["sepia"]})
