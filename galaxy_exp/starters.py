"""Sweep files to begin with: those that come with the package, and one written for a data set.

The files that come with the package are the folder sweeps/ of a clone, which a wheel has as galaxy_exp/starter_files.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.config.plain_yaml import dump_flow
from galaxy_exp.config.votes_section import votes_yaml
from galaxy_exp.errors import BadInputError, escape_unprintable
from galaxy_exp.wording import count, did_you_mean

if TYPE_CHECKING:
    from galaxy_exp.config.data_section import DataConfig
    from galaxy_exp.data import ImageDataset, Split

__all__ = ["QUICKSTART", "list_starters", "point_to_data", "read_starter", "write_for_data"]

QUICKSTART = "quickstart"
_PACKAGE = Path(__file__).parent

_LARGE_SIDE = 128
"""Images with a longer side, in pixels, are resized to `_RESIZED_SIDE`."""
_RESIZED_SIDE = 96
_FEW_IMAGES = 1000
"""With fewer training images, batches are smaller."""
_MANY_IMAGES = 10_000
"""With more training images, fewer configurations are tried, as each takes longer. Up to this number, networks may
start from the pretrained encoder too; see docs/how-to-pretrained.md."""
_UNEQUAL = 1.5
"""Ratio of the largest to the smallest class from which class weights are searched."""
_RARE = 30
"""A class with fewer images has scores that one image changes visibly."""
_LINE = 110


def list_starters() -> list[str]:
    """Names of the sweep files that come with the package, without their ending, in alphabetical order."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def read_starter(name: str) -> str:
    """The text of a sweep file that comes with the package.

    Raises:
        BadInputError: there is no such file; names the nearest one.
    """
    names = list_starters()
    if name not in names:
        raise BadInputError(f"--from {name}: no such starter file; {did_you_mean(name, names)}")
    return (_folder() / f"{name}.yaml").read_text(encoding="utf-8")


def _folder() -> Path:
    packaged = _PACKAGE / "starter_files"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "sweeps"


def point_to_data(text: str, source: str) -> str:
    """The text of a starter file for other images: `data.source`, and names of sweep, experiment and model from it."""
    name = dump_flow(_name_for(source))
    text = re.sub(r"(?m)^  source: .*$", lambda _: f"  source: {dump_flow(source)}", text, count=1)
    text = text if source == "simulated" else re.sub(r"(?m)^  simulated: .*\n", "", text)
    return re.sub(r"(?m)^(name|tracking: {experiment|registry: {model): [\w-]+", lambda key: f"{key[1]}: {name}", text)


def _name_for(source: str) -> str:
    """The name of a sweep of this data."""
    from galaxy_exp.config.sweep import name_of_source

    name = name_of_source(source) or "sweep"
    return name if name[0].isalnum() else f"sweep-{name}"[:64]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the lines of a sweep file follow from."""

    dataset: ImageDataset
    config: DataConfig
    n_training: int
    own_split: bool

    @property
    def side(self) -> int:
        """The longer side of the images that networks get, in pixels."""
        return _RESIZED_SIDE if self.is_resized else max(self.dataset.image_shape[:2])

    @property
    def is_resized(self) -> bool:
        """Whether the sweep file makes the images smaller; not if the user has stated a size."""
        stated = self.config.crop is not None or self.config.resize is not None
        return not stated and max(self.dataset.image_shape[:2]) > _LARGE_SIDE


def write_for_data(dataset: ImageDataset, split: Split, config: DataConfig, file: str) -> str:
    """A commented sweep file for a data set.

    Args:
        dataset: the images, read with `config`.
        split: their split, which gives the number of training images.
        config: the `data` section; the keys that are set are written.
        file: name of the sweep file, for its comments, quoted for a shell.
    """
    facts = _Facts(dataset, config, len(split.train), split.user_defined)
    name = _name_for(config.source)
    lines = [
        *_heading(facts, file),
        *_comment("From the name of the data. The sweep's id begins with it."),
        f"name: {dump_flow(name)}",
        *_data_lines(facts),
        *_space_lines(facts),
        *_effort_lines(facts),
        *_comment("Where the MLflow UI shows the trials."),
        f"tracking: {{experiment: {dump_flow(name)}}}",
        *_registry_lines(facts, name),
    ]
    return "\n".join(lines) + "\n"


def _heading(facts: _Facts, file: str) -> Iterator[str]:
    dataset = facts.dataset
    height, width, _ = dataset.image_shape
    kind = "SIMULATED galaxies" if dataset.simulated else "galaxies"
    size = f"{len(dataset):,} images of {width}x{height} pixels in {dataset.n_classes} classes"
    yield from _comment(f"A sweep of {kind}: {size}.")
    yield from _comment(
        "Written by galaxy-exp init, which has looked at the images. The comments say what a line follows from; "
        "change whatever you know better. Before you run it, check it:"
    )
    yield from (f"#   galaxy-exp check {file}   what it would do and cost", f"#   galaxy-exp sweep {file}   run it")


def _data_lines(facts: _Facts) -> Iterator[str]:
    dataset, stated = facts.dataset, facts.config.model_dump(mode="json", exclude_unset=True, exclude={"votes"})
    yield "data:"
    yield f"  source: {dump_flow(facts.config.source)}"
    counts = dataset.counts
    listed = ", ".join(f"{class_name} {images:,}" for class_name, images in counts.items())
    if dataset.votes is not None:
        questions = count(len(dataset.votes.questions), "question")
        kind = "counts" if dataset.votes.are_counts else "fractions"
        yield from _comment(
            f"Volunteers' votes, as {kind}, on {questions}. Leave out those that you do not need.", "  "
        )
        if facts.config.has_stated_votes:
            yield from votes_yaml(facts.config.votes).splitlines()
        yield from _comment(f"Images by most frequent answer to the first question: {listed}.", "  ")
    else:
        yield from _comment(f"Images by class, in label order: {listed}.", "  ")
    for class_name in (each for each, images in counts.items() if images < _RARE):
        images = count(counts[class_name], "image")
        yield from _comment(f"{class_name} has only {images}: its scores, and the macro-F1, will be uncertain.", "  ")
    numbers = tuple(f"class {label}" for label in range(dataset.n_classes))
    if dataset.votes is None and facts.config.class_names is None and dataset.class_names == numbers:
        yield from _comment("The labels are numbers. Give the classes names here, in this order.", "  ")
        yield f"  class_names: {dump_flow(list(dataset.class_names))}"
    if facts.is_resized:
        height, width, _ = dataset.image_shape
        large = f"Images of {width}x{height} pixels train slowly; without this line they keep their size."
        yield from _comment(f"{large} If galaxies are small in the images, add crop: PIXELS.", "  ")
        yield f"  resize: {_RESIZED_SIDE}"
    for key, value in stated.items():
        if key != "source":
            yield f"  {key}: {dump_flow(value)}"
    if facts.own_split:
        yield from _comment("The data says which images are for training, validation and test; that is used.", "  ")
    elif "split" not in stated:
        yield from _comment("Shares of each class. The test images are used once, for the winner.", "  ")
        yield "  split: {validation: 0.15, test: 0.15, seed: 7}"


def _space_lines(facts: _Facts) -> Iterator[str]:
    deepest = max(1, min(5, int(math.log2(facts.side)) - 1))
    blocks = f"{{min: {max(1, deepest - 2)}, max: {deepest}}}" if deepest > 1 else "1"
    sizes = (16, 32) if facts.n_training < _FEW_IMAGES else (32, 64)
    yield from _comment("What is searched. A plain value fixes a hyperparameter; galaxy-exp check prints them all.")
    yield "space:"
    if facts.n_training <= _MANY_IMAGES and not facts.dataset.simulated and facts.side >= 32:
        yield from _comment(
            f"From {facts.n_training:,} training images a network often learns more if it has seen simulated galaxies "
            "before.",
            "  ",
        )
        yield "  start: {values: [scratch, pretrained]}"
        yield "  body_rate: {values: [0.1, 0.3, 1.0]}"
    yield from _comment(f"Each block halves {facts.side} pixels.", "  ")
    yield f"  n_blocks: {blocks}"
    yield "  convs_per_block: 1"
    if deepest > 1:
        yield from _comment("The same answer however a galaxy is turned or mirrored, with fewer weights.", "  ")
        yield "  equivariant: true"
        yield "  residual: true"
        yield "  width_growth: {values: [1.5, 2.0]}"
    yield "  filters_1: {values: [16, 32]}"
    yield "  filters_2: {values: [64, 96]}"
    yield "  batch_norm: true"
    yield "  head: gap"
    yield "  dense_width: {values: [0, 128]}"
    yield "  dropout_1: {min: 0.0, max: 0.3, step: 0.1}"
    yield "  dropout_2: {min: 0.1, max: 0.5, step: 0.1}"
    if deepest > 1:
        yield from _comment("Flips and turns alone would change nothing.", "  ")
        yield "  augmentation: flips+rotations+shift+zoom"
    else:
        yield "  augmentation: {values: [flips+rotations, flips+rotations+shift+zoom]}"
    yield "  learning_rate: {min: 5.0e-4, max: 5.0e-3, scale: log}"
    yield f"  batch_size: {{values: [{sizes[0]}, {sizes[1]}]}}"
    yield "  optimizer: {values: [adam, adamw]}"
    yield "  schedule: cosine"
    images = facts.dataset.counts.values()
    if max(images) > _UNEQUAL * min(images):
        yield from _comment("The classes differ in size.", "  ")
        yield "  class_weighting: {values: [none, sqrt, balanced]}"
    else:
        yield from _comment("The classes are about equal in size.", "  ")
        yield "  class_weighting: none"


def _effort_lines(facts: _Facts) -> Iterator[str]:
    epochs = min(60, max(20, round(40 * math.sqrt(2100 / facts.n_training) / 10) * 10))
    trials = 20 if facts.n_training <= _MANY_IMAGES else 12
    images = f"{facts.n_training:,} training images"
    yield from _comment(f"For {images}; more images need fewer epochs.")
    yield f"training: {{epochs: {epochs}, precision: auto}}"
    yield from _comment(
        "Most trials end early: they are compared at epoch first_rung, then at later ones. max_hours: 2 would end the "
        "search after two hours."
    )
    yield "search:"
    if facts.dataset.votes is None:
        yield "  objective: val_macro_f1  # all classes count alike; val_accuracy: all images"
    else:
        yield "  objective: val_deviance  # of the fractions, in nats; val_macro_f1: of galaxies whose votes agree"
    yield f"  max_trials: {trials}"
    yield f"  first_rung: {max(1, round(0.15 * epochs))}"
    yield "  seed: 1"


def _registry_lines(facts: _Facts, name: str) -> Iterator[str]:
    seeds = 3 if facts.n_training <= _MANY_IMAGES else 2
    yield from _comment(
        "The name that `galaxy-exp predict --model` takes. The best configurations are trained again, with several "
        "seeds. With ensemble the model is the mean of the winner's networks: better probabilities, slower predictions."
    )
    yield f"registry: {{model: {dump_flow(name)}, finalists: 3, seeds: {seeds}, ensemble: true}}"


def _comment(text: str, indent: str = "") -> list[str]:
    return [f"{indent}# {line}" for line in textwrap.wrap(escape_unprintable(text), _LINE)]
