import json
import subprocess
import sys

import pytest

from darkroom.errors import InvalidItem
from darkroom.flows import STAGES
from darkroom.stages.options import (
    DiffusionOptions,
    EndpointOptions,
    EnhanceOptions,
    GenerateOptions,
    InspectOptions,
    options_by_stage,
    parse_options,
)


def test_every_stage_has_options():
    assert set(options_by_stage()) == set(STAGES)


def test_the_defaults_are_those_that_the_documents_name():
    assert parse_options("generate", {}) == GenerateOptions(steps=16, cfg=3)
    assert parse_options("enhance", {}) == EnhanceOptions(scale=4, max_side=512, max_pixels=40_000_000)
    assert parse_options("inspect", {}) == InspectOptions(
        max_nsfw=0.8, min_sharpness=0.3, min_contrast=3, check_caption="auto"
    )


@pytest.mark.parametrize(
    ("stage", "options", "field"),
    [
        ("generate", {"stepz": 8}, "stepz"),
        ("generate", {"steps": 0}, "steps"),
        ("generate", {"steps": 65}, "steps"),
        ("generate", {"steps": "many"}, "steps"),
        ("generate", {"cfg": -1}, "cfg"),
        ("enhance", {"scale": 3}, "scale"),
        ("enhance", {"max_side": 100_000}, "max_side"),
        ("inspect", {"max_nsfw": 1.1}, "max_nsfw"),
        ("inspect", {"check_caption": "perhaps"}, "check_caption"),
        ("inspect", {"min_contrast": float("nan")}, "min_contrast"),
    ],
)
def test_a_wrong_option_is_the_items_fault_and_named_once(stage, options, field):
    with pytest.raises(InvalidItem, match=rf"^options\.{field}: ") as caught:
        parse_options(stage, options)
    assert str(caught.value).count("options.") == 1


@pytest.mark.parametrize("kind", [*options_by_stage().values(), DiffusionOptions, EndpointOptions])
def test_the_form_gets_a_schema_that_explains_and_closes_every_option(kind):
    schema = json.loads(json.dumps(kind.model_json_schema()))
    assert schema["additionalProperties"] is False
    assert all({"default", "description"} <= set(option) for option in schema["properties"].values())


@pytest.mark.parametrize(
    "module", ["darkroom.stages.options", "darkroom.stages.base", "darkroom.serving.client"]
)
def test_the_light_modules_import_no_runtime(module):
    heavy = ("numpy", "PIL", "onnxruntime", "mosec")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
