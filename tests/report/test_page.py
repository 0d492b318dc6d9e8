"""The report page, as parsed HTML, of sweeps written by hand in every state."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from jinja2 import UndefinedError
from written_records import RecordWriter

from galaxy_exp.evaluation.confidence import measure_calibration
from galaxy_exp.evaluation.held_out_report import build_report
from galaxy_exp.folders import SweepFolder
from galaxy_exp.records import SweepState
from galaxy_exp.report.html import environment
from galaxy_exp.report.material import DataFacts, Material
from galaxy_exp.report.page import build_page
from galaxy_exp.report.paper import (
    bibtex,
    cited_data,
    cited_methods,
    cited_software,
    latex_table,
    methods_text,
    read_references,
)
from galaxy_exp.report.result_sections import describe_finalists, describe_gains
from galaxy_exp.space.domains import Prior
from galaxy_exp.space.search_space import Condition, Hyperparameter, Kind, SearchSpace
from galaxy_exp.sweep_report import write_report

from .materials import LABELS, NAMES, PROBABILITIES, STATES, collected, finished, searched, unfinished


@pytest.fixture(scope="module", params=STATES)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_page(STATES[request.param](tmp_path_factory.mktemp("sweep")))


def parse(page: str) -> ElementTree.Element:
    assert page.startswith("<!DOCTYPE html>\n")
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))


def text_of(page: str) -> str:
    return " ".join("".join(parse(page).itertext()).split())


class TestEveryPage:
    def test_is_well_formed_with_ids_that_are_unique_and_linked(self, page: str) -> None:
        root = parse(page)
        ids = [each.get("id") for each in root.iter() if each.get("id")]
        assert len(ids) == len(set(ids))
        links = {each.get("href", "").removeprefix("#") for each in root.iter("a")}
        labels = {each.get("aria-labelledby") for each in root.iter() if each.get("aria-labelledby")}
        assert links | labels <= set(ids)

    def test_loads_nothing_and_runs_only_what_sorts_its_table(self, page: str) -> None:
        root = parse(page)
        (script,) = root.iter("script")
        assert script.attrib == {}
        assert script.text.strip().startswith("// Makes each column header of the table of trials a button")  # type: ignore[union-attr]
        assert not re.search(r"fetch|XMLHttp|import|https?:|eval|innerHTML", script.text or "")
        assert not {each.tag for each in root.iter()} & {"link", "iframe", "object", "embed", "base"}
        sources = [value for each in root.iter() for key, value in each.items() if key in ("src", "href", "srcset")]
        assert all(source.startswith(("data:image/", "#")) for source in sources)
        assert not re.search(r"url\(|@import", page)
        assert not [key for each in root.iter() for key in each.keys() if key.startswith("on")]  # noqa: SIM118

    def test_can_be_read_without_eyes(self, page: str) -> None:
        root = parse(page)
        assert root.get("lang") == "en"
        assert {"header", "nav", "main", "footer"} <= {each.tag for each in root.iter()}
        assert all(each.get("alt") for each in root.iter("img"))
        assert all(each.get("aria-label") for each in root.iter("figure"))
        assert all(each.get("role") == "img" and each.get("aria-label") for each in root.iter("svg"))
        assert all(each.get("aria-label") for each in root.iter() if each.get("tabindex"))
        assert all(each.find("caption") is not None for each in root.iter("table"))
        assert all(each.get("scope") for each in root.iter("th"))

    def test_has_headings_in_order(self, page: str) -> None:
        levels = [int(each.tag[1]) for each in parse(page).iter() if re.fullmatch("h[1-6]", each.tag)]
        assert levels.count(1) == 1
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))

    def test_holds_names_as_text_and_no_password(self, page: str) -> None:
        assert page.count("<script") == 1
        assert "&lt;script&gt;" in page
        assert "geheim" not in page

    def test_draws_numbers_only(self, page: str) -> None:
        places = {"d", "x", "y", "cx", "cy", "r", "x1", "x2", "y1", "y2", "width", "height", "transform", "style"}
        drawn = [value for each in parse(page).iter() for key, value in each.items() if key in places]
        assert not [value for value in drawn if re.search("nan|inf", value)]


class TestWhatItSays:
    def test_of_a_finished_sweep(self) -> None:
        material = finished()
        told = text_of(build_page(material))
        assert material.state is SweepState.FINISHED
        assert "which galaxy-cnn has the best validation macro-F1, on 36 images of galaxies in 3 classes" in told
        assert "On 6 held-out galaxies that no trial ever saw" in told
        assert (
            "Not distinguishable from the baseline: macro-F1 +0.100 "
            "(95% interval \N{MINUS SIGN}0.020 to +0.220; may be chance)." in told
        )
        assert "Fewer than 20 held-out galaxies" in told
        assert "improve the best validation macro-F1 by 0.012 on average" in told
        assert "like the 11 that the search has proposed so far" in told
        assert "with a probability of 48%" in told
        assert "10 more trials take about 27 epochs and 30 min of a worker" in told
        assert "INTERRUPTED" not in told
        assert "SIMULATED" not in told

    def test_of_the_held_out_test(self) -> None:
        page = build_page(finished())
        rows = {row.findtext("th"): [cell.text for cell in row.findall("td")] for row in parse(page).iter("tr")}
        assert rows["top-2 accuracy"] == ["1.000", "1.000 to 1.000", "1.000"]
        assert rows["100%"] == ["6", "0.600", "0.833", "0.436 to 0.970"]
        assert rows["50%"] == ["3", "0.800", "1.000", "0.439 to 1.000"]
        assert "Divided by a temperature of 1.500" in text_of(page)

    def test_of_the_model_without_its_options(self) -> None:
        material = finished()
        report = material.test
        assert report is not None
        metrics = ("accuracy", "macro_f1", "balanced_accuracy", "loss")
        differences = {name: [0.01, -0.02, 0.04] for name in metrics} | {"loss": [-0.2, -0.3, -0.1]}
        report["tta"], report["members"] = True, [4, 5]
        report["compared"] = [{**report, "name": "with one view", "accuracy": 0.823, "differences": differences}]
        page = build_page(material)
        assert "over the networks of trials 4, 5 and the flips and quarter turns of an image" in text_of(page)
        assert "the winner, the mean of trials 4, 5, reaches a macro-F1 of" in text_of(page)
        assert "the mean of 2 networks of the chosen configuration, averaged over the flips" in methods_text(material)
        (row,) = (row for row in parse(page).iter("tr") if [*row.itertext()][:2] == ["with one view", "accuracy"])
        assert [*row.itertext()][2:] == ["0.833", "0.823", "+0.010", "\N{MINUS SIGN}0.020 to +0.040"]
        rows = [[*row.itertext()] for row in parse(page).iter("tr")]
        assert ["+0.200", "+0.100 to +0.300"] in [row[4:] for row in rows]  # less loss is better

    def test_of_the_held_out_test_of_an_earlier_release(self) -> None:
        material = finished()
        new = set(build_report(LABELS, PROBABILITIES, NAMES, "digest").to_dict())
        old = {"n_images", "accuracy", "macro_f1", "balanced_accuracy", "loss", "per_class", "confusion"}
        for report in material.record.test_reports.values():
            for name in new - old - {"class_names", "digest"}:
                del report[name]
            for row in report["per_class"]:
                for name in ("completeness", "purity", "f1"):
                    del row[f"{name}_interval"]
        told = text_of(build_page(material))
        assert "Expected calibration error" in told
        assert "temperature" not in told
        assert "against coverage" not in told

    @pytest.mark.parametrize(
        ("state", "said"),
        [
            ("unfinished", "This sweep was INTERRUPTED: 13 of 20 trials, best val_macro_f1 0.7750 (trial 11)"),
            ("unfinished", "The held-out test set has not been used yet"),
            ("unfinished", "since the prepared images are gone"),
            ("failed", "FAILED: 3 trials in a row failed"),
            ("failed", "None of 3 finished trials has a model: because"),
            ("empty", "No trial has finished yet"),
            ("simulated", "SIMULATED galaxies: the images are computed, not observed"),
            ("several objectives", "Trials on the Pareto front"),
        ],
    )
    def test_of_others(self, state: str, said: str, tmp_path: Path) -> None:
        assert said in text_of(build_page(STATES[state](tmp_path)))

    def test_a_sweep_that_runs_is_loaded_again_if_it_is_served(self, tmp_path: Path) -> None:
        running = replace(unfinished(tmp_path), is_running=True)
        assert "This sweep is RUNNING: 13 of 20 trials" in text_of(build_page(running))
        assert '<meta http-equiv="refresh" content="60"/>' in build_page(running, 60)
        assert "http-equiv" not in build_page(running)
        assert "http-equiv" not in build_page(finished(), 60)

    def test_every_trial_of_the_table_has_its_curve(self) -> None:
        tables = {each.findtext("caption"): each for each in parse(build_page(finished())).iter("table")}
        rows = tables["Trials of the search by validation macro-F1"].findall("tbody/tr")
        curves = {row.findtext("th"): row.find(".//svg") for row in rows}
        assert len(rows) == 13
        best = curves["11"]
        assert best is not None
        assert best.get("aria-label") == "trial 11 from 0.300 to 0.775"
        assert best.find("polyline").get("points") == "0,22.0 50,17.8 100,2.0"  # type: ignore[union-attr]

    def test_what_can_never_be_active_is_left_out(self, tmp_path: Path) -> None:
        space = SearchSpace(
            [
                Hyperparameter.fixed("optimizer", "adam", ()),
                Hyperparameter.range(
                    Kind.FLOAT, "decay", 0.1, 0.9, None, None, None, (Condition("optimizer", ("adamw",)),)
                ),
                Hyperparameter.range(Kind.FLOAT, "rate", 0.1, 0.9, None, None, None, ()),
            ]
        )
        writer = RecordWriter(space=space.get_config())
        writer.trial(0.2, 0.3, values={"optimizer": "adam", "rate": 0.2})
        told = text_of(build_page(collected(writer, tmp_path)))
        assert "rate" in told
        assert "decay" not in told

    def test_only_what_every_trial_has_is_told_as_fixed(self, tmp_path: Path) -> None:
        conv, pretrained = Condition("encoder", ("conv",)), Condition("encoder", ("pretrained",))
        space = SearchSpace(
            [
                Hyperparameter(Kind.CHOICE, "encoder", "conv", (), ("conv", "pretrained")),
                Hyperparameter.fixed("warm_up", True, (pretrained,)),
                Hyperparameter.fixed("depth", 3, (conv,)),
                Hyperparameter.fixed("depth", 5, (pretrained,)),
                Hyperparameter.fixed("norm", "batch", ()),
                Hyperparameter.fixed("momentum", 0.9, (Condition("norm", ("batch",)),)),
            ]
        )
        baseline = {"encoder": "conv", "depth": 3, "norm": "layer"}
        writer = RecordWriter(space=space.get_config(), baseline=baseline)
        writer.trial(0.1, values=baseline)
        writer.trial(0.2, values={"encoder": "pretrained", "warm_up": True, "depth": 5, "norm": "batch"})
        page = build_page(collected(writer, tmp_path))
        assert "Fixed for every trial but the baseline: norm batch, momentum 0.9." in text_of(page)
        rows = [[*row.itertext()] for row in parse(page).iter("tr")]
        assert ["warm_up", "yes", "encoder is pretrained"] in [[each for each in row if each][:3] for row in rows]
        assert "encoder pretrained, warm_up yes, depth 5" in text_of(page)

    def test_the_time_of_a_trial_is_that_of_all_its_attempts(self) -> None:
        material = finished()
        assert material.leader is not None
        material.leader.seconds_before = 7200.0
        assert "Trained in2 h" in text_of(build_page(material))

    def test_the_ledger_adds_up(self) -> None:
        root = parse(build_page(finished()))
        tables = {each.findtext("caption"): each for each in root.iter("table")}
        rows = tables["Where epochs and time went"].findall("tbody/tr")
        numbers = {row.findtext("th"): [int(row[column].text or "") for column in (1, 2)] for row in rows}
        total = numbers.pop("in all")
        assert [sum(column) for column in zip(*numbers.values(), strict=True)] == total
        assert set(numbers) >= {"completed: trained all epochs", "stopped early or paused", "failed"}
        assert "finalists, trained again" in numbers

    def test_trials_ahead_are_judged_from_those_that_were_proposed(self, tmp_path: Path) -> None:
        ahead = unfinished(tmp_path).ahead
        assert ahead is not None
        assert (ahead.n_trials, ahead.judged_from, ahead.n_scored, ahead.epochs) == (10, 12, 11, 27)
        assert ahead.probability == pytest.approx(10 / 21)

    def test_many_trials_make_no_large_page(self, tmp_path: Path) -> None:
        writer = searched(1500)
        path = write_report(writer.record, SweepFolder(tmp_path), tmp_path / "new" / "r.html")
        assert path.stat().st_size < 1_500_000
        assert [each.name for each in path.parent.iterdir()] == ["r.html"]
        assert "They are the best of 1,499 trials." in text_of(path.read_text(encoding="utf-8"))

    def test_secrets_of_the_sweep_file_are_left_out(self, tmp_path: Path) -> None:
        options = {"api_key": "geheim", "url": "https://me:geheim@host", "n": 3}
        writer = RecordWriter({"sampler": "a.b:C", "sampler_options": options})
        told = collected(writer, tmp_path).sweep_file
        assert "geheim" not in told
        assert "n: 3" in told

    def test_names_of_hyperparameters_are_no_secrets(self, tmp_path: Path) -> None:
        writer = RecordWriter()
        writer.record.started.config["space"] = {"token_mixer": "conv", "secret": {"values": ["a", "b"]}}
        writer.record.started.config["search"]["enqueue"] = [{"token_mixer": "pool"}]
        told = yaml.safe_load(collected(writer, tmp_path).sweep_file)
        assert told["space"] == {"token_mixer": "conv", "secret": {"values": ["a", "b"]}}
        assert told["search"]["enqueue"] == [{"token_mixer": "pool"}]


class TestForAPaper:
    def test_the_table_holds_the_scores(self) -> None:
        table = latex_table(finished())
        assert "Accuracy & 0.833 & 0.833 & $+0.000$ [$+0.100$, $+0.300$]" in table
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert [row.count("&") for row in rows] == [3] * 5

    def test_the_latex_is_balanced(self) -> None:
        material = finished()
        for text in (latex_table(material), methods_text(material)):
            plain = re.sub(r"\\[&%$#_{}]", "", text)
            assert plain.count("{") == plain.count("}")
            assert plain.count("$") % 2 == 0
            assert not re.search("[%#_~^]", plain.replace("Table~", ""))

    def test_another_seed_of_the_baseline_is_no_gain(self) -> None:
        material = finished()
        assert material.winner is not None
        material.winner.retrains = 0
        assert "with another seed, and differs from its first one by $+0.100$ in macro-F1 (95" in methods_text(material)
        assert r" & Winner & Its first seed & Difference \\" in latex_table(material)
        page = build_page(material)
        assert "Difference from its first seed, paired bootstrap" in text_of(page)
        assert "its first seed, trial 0" in text_of(page)
        for text in (methods_text(material), latex_table(material), text_of(page)):
            assert not re.search(r"\bgains?\b.{0,40}(baseline|interval)", text, re.I)

    @pytest.mark.parametrize(("source", "keys"), [("galaxy10-sdss", {"galaxy10sdss", "lintott2011"}), ("my.h5", set())])
    def test_only_what_was_used_is_cited(self, source: str, keys: set[str]) -> None:
        writer = RecordWriter({"sampler": "tpe", "scheduler": "none"})
        writer.record.started.config["data"]["source"] = source
        material = Material(writer.record, DataFacts(source, False, "d", "s"), "")
        assert keys <= set(cited_data(material))
        assert bool(keys) == bool(cited_data(material))
        assert cited_methods(material) == {"sampler": ("bergstra2011", "akiba2019")}

    def test_priors_and_seconds_are_told(self) -> None:
        rate = Hyperparameter.range(Kind.FLOAT, "rate", 1e-4, 1e-1, None, "log", 1e-3, ())
        space = SearchSpace([replace(rate, prior=Prior(1e-3, 0.7))]).get_config()
        writer = RecordWriter({"sampler": "gp", "cost": "seconds"}, space=space)
        material = Material(writer.record, DataFacts("my.h5", False, "d", "s"), "")
        assert (
            "with expert priors on 1 hyperparameter, its expected improvement divided by the square root of the "
            "seconds of an epoch \\citep{jones1998, mallik2023, hvarfner2022}"
        ) in methods_text(material)
        drawn = Material(RecordWriter({"sampler": "tpe"}, space=space).record, DataFacts("my.h5", False, "d", "s"), "")
        assert cited_methods(drawn)["sampler"][-1:] == ("mallik2023",)

    def test_every_citation_has_its_entry(self) -> None:
        material = finished()
        text = methods_text(material)
        cited = [key for found in re.findall(r"\\citep\{([^}]*)\}", text) for key in found.split(", ")]
        assert cited
        entries = bibtex(cited)
        assert all(f"{{{key}," in entries for key in cited)
        assert "The chosen hyperparameters are rate 0.9167, \\textless{}script" in text
        assert {key for keys in cited_software(material).values() for key in keys} <= set(cited)

    @pytest.mark.parametrize("key", read_references())
    def test_entries_are_balanced_and_have_their_fields(self, key: str) -> None:
        entry = read_references()[key]
        assert entry.count("{") == entry.count("}")
        kind, name, rest = re.fullmatch(r"@(\w+)\{(\w+),\n(.*)\n\}", entry, flags=re.DOTALL).groups()  # type: ignore[union-attr]
        assert name == key
        needed = {"article": {"journal", "volume", "pages"}, "inproceedings": {"booktitle", "pages"}}
        needed |= {"book": {"publisher"}, "misc": set()}
        assert needed[kind] | {"author", "title", "year"} <= set(re.findall(r"^  (\w+) = ", rest, flags=re.MULTILINE))

    def test_software_is_cited_where_it_was_used(self) -> None:
        def cited(sampler: str, steps: tuple[str, ...] = (), **execution: Any) -> set[str]:
            writer = RecordWriter({"sampler": sampler})
            writer.record.started.config["execution"].update(execution)
            facts = DataFacts("a.h5", False, "d", "s", preprocessing=steps)
            return set(cited_software(Material(writer.record, facts, "")))

        usual = {"keras", "keras-tuner", "mlflow", "numpy"}
        assert cited("tpe") == usual
        assert cited("tpe", workers=2) == usual
        assert cited("gp", ("FITS stretch asinh",), scheduler="tcp://a:1") == usual | {"astropy", "scipy", "dask"}


class TestCalibration:
    def test_error_is_the_mean_distance_weighted_by_images(self) -> None:
        labels = np.array([0, 0, 0, 1])
        probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.65, 0.35], [0.65, 0.35]])
        found = measure_calibration(labels, probabilities)
        assert [(each.n_images, each.accuracy) for each in found.bins] == [(2, 0.5), (2, 1.0)]
        assert found.error == pytest.approx((2 * abs(0.5 - 0.65) + 2 * abs(1.0 - 0.9)) / 4)

    def test_probabilities_of_one_lie_in_the_last_bin(self) -> None:
        assert measure_calibration(np.array([0]), np.array([[1.0, 0.0]])).bins[0].high == 1.0


class TestComparison:
    def test_is_described_in_words(self) -> None:
        material = finished()
        assert describe_gains(material.gains) == (
            "Gain over the baseline with 95% intervals: accuracy +0.200, 0.100 to 0.300; "
            "macro-F1 +0.100, -0.020 to 0.220."
        )
        told = describe_finalists(material.finalists, "validation macro-F1")
        assert told == "validation macro-F1 of the finalists with each seed: trial 11 mean 0.760."

    def test_every_picture_is_in_the_page(self) -> None:
        figures = [each for each in parse(build_page(finished())).iter("figure") if each.find(".//svg") is not None]
        assert [each.get("aria-label") for each in figures] == [
            "Gains over the baseline",
            "Learning curves",
            "Finalists",
            "Calibration",
            "Calibrated",
            "Accuracy and coverage",
            "Optimisation history",
            "Importance",
            "Rung survival",
            "Curves",
            "Parallel coordinates",
            "Slices",
        ]


class TestHtml:
    def test_text_is_escaped_once(self) -> None:
        template = environment().from_string(
            '{% set name %}<b>{{ x }}</b>{% endset %}<td class="{{ y }}">{{ x }}{{ name }}</td>'
        )
        assert template.render(x='<&"', y='a"') == ('<td class="a&#34;">&lt;&amp;&#34;<b>&lt;&amp;&#34;</b></td>')

    def test_control_characters_do_not_break_it(self) -> None:
        assert environment().from_string("{{ x }}").render(x="a\x00\x1b[b") == "a\ufffd\ufffd[b"

    def test_a_password_in_an_address_is_hidden(self) -> None:
        told = environment().from_string("{{ x }}").render(x="https://me:geheim@host/a.h5")
        assert told == "https://***@host/a.h5"

    def test_a_name_that_the_template_does_not_get_is_an_error(self) -> None:
        with pytest.raises(UndefinedError, match="'x' is undefined"):
            environment().from_string("{{ x }}").render()
