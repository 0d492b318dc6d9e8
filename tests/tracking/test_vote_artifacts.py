"""The artifacts of a trial on votes, and the report page from the files of such a sweep."""

from __future__ import annotations

import json

import numpy as np
import pytest
from written_records import RecordWriter

from galaxy_exp.config.data_section import DataConfig, SimulatedConfig, SplitConfig
from galaxy_exp.data import load_dataset, prepare_split
from galaxy_exp.evaluation.held_out_report import build_vote_report
from galaxy_exp.evaluation.vote_metrics import summarise_votes
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import SealedTestOpened, WinnerChosen
from galaxy_exp.questions import Votes
from galaxy_exp.registry.held_out import load_held_out_votes
from galaxy_exp.report.page import build_page
from galaxy_exp.sweep_report import collect_material
from galaxy_exp.tracking.artifacts import write_held_out_figures, write_trial_artifacts
from galaxy_exp.tracking.parent_run import describe_schema, sweep_metrics


@pytest.fixture(scope="module")
def voted(tmp_path_factory):
    """150 simulated galaxies with volunteers, split and written."""
    simulated = SimulatedConfig(n_images=150, image_size=24, class_proportions="equal", volunteers=(10, 20))
    return prepare_split(load_dataset(DataConfig(simulated=simulated)), SplitConfig(), tmp_path_factory.mktemp("data"))


@pytest.fixture
def sweep(voted, tmp_path):
    """A record whose trial 1 won, with its files; the outputs are those of a network that knows a little."""
    writer = RecordWriter({}, {}, data_folder=str(voted.folder))
    writer.trial(0.4, 0.3, values={}, settled=True)
    writer.trial(0.3, 0.2, values={})
    folder = SweepFolder(tmp_path / "sweeps" / writer.record.sweep_id)
    votes = Votes(voted.votes.questions, np.load(voted.votes.validation), voted.votes.are_counts)
    outputs = votes.values + np.random.default_rng(0).uniform(1, 5, votes.values.shape).astype(np.float32)
    for number in (0, 1):
        folder.trial(number).mkdir(parents=True)
        np.save(folder.trial(number) / "validation_probabilities.npy", outputs)
    counted = load_held_out_votes(voted)
    report = build_vote_report(counted, counted.values + 2, "digest", 0.8).to_dict()
    writer.apply(WinnerChosen(number=1))
    for number in (1, 0):
        gains = {"deviance": (-0.1, -0.2, -0.05), "macro_f1": (0.1, 0.05, 0.2)} if number == 0 else {}
        writer.apply(SealedTestOpened(number=number, report=report, gains=gains))
    return writer.record, folder, votes, outputs


def test_a_trial_has_its_fractions_in_place_of_mistakes(voted, sweep):
    record, folder, votes, outputs = sweep
    target = write_trial_artifacts(folder.trial(1), record.trials[1], record, voted)
    assert {"fractions.json", "fractions.png", "differences.png", "confusion_matrix.png"} <= {
        each.name for each in target.iterdir()
    }
    assert not (target / "mistakes.png").exists()
    found = json.loads((target / "fractions.json").read_text())
    assert found["scores"] == pytest.approx(summarise_votes(votes, outputs, 0.8))
    assert len(found["answers"]) == votes.questions.n_answers
    assert json.loads((target / "confusion_matrix.json").read_text())["n_images"] < len(votes)


def test_the_sweep_logs_the_scores_of_votes_and_the_questions(voted, sweep):
    record, folder, votes, _ = sweep
    logged = sweep_metrics(record)
    assert logged["test/winner_deviance"] == record.winner_test["deviance"]
    assert "test/baseline_count_coverage" in logged
    assert describe_schema(voted)["questions"] == votes.questions.to_list()
    write_held_out_figures(folder.path, record)
    assert (folder.path / "artifacts" / "sealed_test_trial_001_fractions.png").is_file()


def test_the_page_is_made_from_the_files(sweep):
    record, folder, votes, _ = sweep
    material = collect_material(record, folder)
    assert material.votes is not None and material.votes.questions == votes.questions
    assert len(material.votes.differing) == min(18, len(votes))
    assert material.calibration is None and material.n_mistakes is None
    page = build_page(material)
    assert "Better than the baseline by 0.100 macro-F1 where votes agree" in page
    assert "gain in deviance (nats) over the baseline" in page
    assert "How well votes are predicted" in page and "Most confident mistakes" not in page
    (folder.trial(1) / "validation_probabilities.npy").unlink()
    assert collect_material(record, folder).votes.differing == ()
