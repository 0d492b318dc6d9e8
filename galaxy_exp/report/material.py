"""What the report page is made of: everything known about a sweep, computed before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from galaxy_exp.questions import Questions
from galaxy_exp.records import Gain, SweepState
from galaxy_exp.space.search_space import SearchSpace

if TYPE_CHECKING:
    from galaxy_exp.evaluation.confidence import Calibration
    from galaxy_exp.journal.record import SweepRecord, TrialRecord

__all__ = ["DataFacts", "Finalist", "Gain", "Material", "Picture", "TrialsAhead", "VoteMaterial"]


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What is known about the images."""

    source: str
    simulated: bool
    digest: str
    split_digest: str
    class_names: tuple[str, ...] = ()
    image_shape: tuple[int, ...] = ()
    """(height, width, 3) in pixels; empty if not known."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Images by split and class; empty if not known."""
    preprocessing: Sequence[str] = ()
    """The steps in words."""
    own_split: bool = False
    n_identical: int = 0
    n_near: int = 0
    n_skipped: int = 0

    @property
    def n_images(self) -> int:
        """In all splits; 0 if not known."""
        return sum(sum(classes.values()) for classes in self.counts.values())

    @property
    def name(self) -> str:
        """The data in a few words."""
        return "SIMULATED galaxies" if self.simulated else self.source.rstrip("/").rpartition("/")[2]

    @property
    def galaxies(self) -> str:
        """`galaxies`, or `SIMULATED galaxies`: for every sentence with a number in it."""
        return "SIMULATED galaxies" if self.simulated else "galaxies"


@dataclass(frozen=True, slots=True)
class Finalist:
    """A configuration that was trained again."""

    number: int
    searched: float | None
    """The objective in the search, with one seed."""
    values: tuple[float, ...]
    """The objective of each further training, in their order."""
    mean: float
    spread: float | None
    """Standard deviation; None for a single seed."""


@dataclass(frozen=True, slots=True)
class TrialsAhead:
    """What more trials would take, if they are like the latest ones that were proposed."""

    n_trials: int
    epochs: int
    hours: float
    """Of a worker."""
    judged_from: int
    """Number of the latest trials that the estimate uses."""
    n_scored: int
    """Trials with a score that were proposed so far."""

    @property
    def probability(self) -> float:
        """That the best of all is among those ahead, if all are alike: each is equally likely to be the best."""
        return self.n_trials / (self.n_trials + self.n_scored)


@dataclass(frozen=True, slots=True)
class Picture:
    """One image, ready to be shown in the page."""

    uri: str
    """A `data:` address."""
    width: int
    height: int
    true: str
    """Name of its class."""
    predicted: str
    probability: float
    """Of the predicted class."""


@dataclass(frozen=True, slots=True)
class VoteMaterial:
    """What a sweep on votes has besides."""

    questions: Questions
    differing: Sequence[tuple[Picture, str, str]] = ()
    """Validation images whose votes differ most from what the winner predicts, with the observed and the predicted
    fraction in words."""


@dataclass(frozen=True, slots=True)
class Material:
    """A sweep's record and what was computed from it and from the files in its folder."""

    record: SweepRecord
    data: DataFacts
    sweep_file: str
    """The whole sweep file with all defaults, as YAML, without passwords."""
    finalists: Sequence[Finalist] = ()
    """The best mean first."""
    gains: Sequence[Gain] = ()
    """Empty without a baseline, or without the probabilities on the held-out test set."""
    calibration: Calibration | None = None
    """Of the winner on the held-out test set; None without its probabilities."""
    mistakes: Sequence[Picture] = ()
    """Of the winner on the validation images, the most confident first."""
    votes: VoteMaterial | None = None
    """Of a sweep on votes."""
    n_mistakes: int | None = None
    """Of the winner on the validation images, in all; None if they are not known."""
    expected_gain: float | None = None
    """What ten more trials would add to the best objective; None with too few trials for an estimate."""
    ahead: TrialsAhead | None = None
    """What these ten would cost; None before a proposed trial has ended."""
    missing: Sequence[str] = ()
    """What could not be shown and why, one sentence each."""
    software: Mapping[str, str] = field(default_factory=dict)
    """What made the page, by name."""
    is_running: bool = False
    """Whether a process works on the sweep."""

    @property
    def state(self) -> SweepState:
        """A sweep whose last step, the promotion, is done counts as finished, even without its last event."""
        ended = self.record.ended
        if ended is not None and not ended.succeeded:
            return SweepState.FAILED
        if ended is not None or self.record.promotion is not None:
            return SweepState.FINISHED
        return SweepState.RUNNING if self.is_running else SweepState.INTERRUPTED

    @property
    def winner(self) -> TrialRecord | None:
        """The trial whose model was chosen."""
        return self.record.winning_trial

    @property
    def leader(self) -> TrialRecord | None:
        """The winner; before it is chosen, the best trial so far."""
        return self.winner or next(iter(self.record.leaderboard(1)), None)

    @property
    def baseline(self) -> TrialRecord | None:
        """None if the sweep has none or has not proposed it yet."""
        return self.record.trials.get(0) if self.record.has_baseline else None

    @property
    def test(self) -> dict[str, Any] | None:
        """The winner's report on the held-out test set, as `TestReport.to_dict()`."""
        return self.record.winner_test

    @property
    def tested_name(self) -> str:
        """What of the winner was tested: a trial or, with `registry.ensemble`, the mean of several."""
        members = (self.test or {}).get("members")
        return f"the mean of trials {', '.join(map(str, members))}" if members else f"trial {self.record.winner}"

    @property
    def baseline_test(self) -> dict[str, Any] | None:
        """The baseline's, unless it is the winner."""
        return self.record.baseline_test

    @property
    def space(self) -> SearchSpace:
        """The space that was searched, as journaled."""
        return SearchSpace.from_config(self.record.started.space)

    def gain(self, metric: str) -> Gain | None:
        return next((gain for gain in self.gains if gain.metric == metric), None)
