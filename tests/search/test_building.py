"""What a sweep file's search section is turned into, or refused for."""

import re
from dataclasses import replace

import keras_tuner
import pytest
from search.driving import distinct, drive, finite_space, mixed_space, score_of

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.errors import ConfigError, SweepFailedError
from galaxy_exp.records import Decision, Evidence, Outcome, TrialState
from galaxy_exp.report.paper import read_references
from galaxy_exp.search.building import build_proposer, check_names, check_search
from galaxy_exp.search.schedulers import StoppingScheduler, UserScheduler, build_scheduler
from galaxy_exp.search_methods import SAMPLERS, SCHEDULERS
from galaxy_exp.space.domains import Prior
from galaxy_exp.space.search_space import SearchSpace

KERAS_TUNER = "keras_tuner.oracles.RandomSearchOracle"
MIXED, FINITE = SearchSpace.of(mixed_space()), SearchSpace.of(finite_space())
OWN = "search.user_classes"


def only_categories():
    space = keras_tuner.HyperParameters()
    space.Choice("kind", ["a", "b"])
    with space.conditional_scope("kind", ["a"]):
        space.Float("x", 0.0, 1.0)
    return SearchSpace.of(space)


BAD_NAMES = {
    "options without a class": ({"sampler_options": {"a": 1}}, "search.sampler_options: auto takes none"),
    "no such module": (
        {"sampler": "no_such_module:Thing"},
        "search.sampler: no_such_module:Thing: cannot import no_such_module: ModuleNotFoundError",
    ),
    "no such class": (
        {"sampler": "keras_tuner.oracles.RandomOracle"},
        "module keras_tuner.oracles has no RandomOracle; did you mean",
    ),
    "not a class": ({"sampler": f"{OWN}:FIVE"}, "search.sampler: search.user_classes:FIVE: is of type int; expected"),
    "class of another kind": (
        {"sampler": f"{OWN}:OwnRule"},
        "is of another kind; expected a subclass of keras_tuner.Oracle or of optuna.samplers.BaseSampler",
    ),
    "several objectives, one taken": (
        {"sampler": "gp", "objective": ["val_macro_f1", "-parameters"]},
        "search.objective: found 2, but gp takes one; expected a single objective, or one of the samplers tpe, ",
    ),
    "several objectives for KerasTuner": (
        {"sampler": KERAS_TUNER, "objective": ["val_macro_f1", "-flops"]},
        f"search.objective: found 2, but {KERAS_TUNER} takes one",
    ),
    "warm start for KerasTuner": (
        {"sampler": KERAS_TUNER, "warm_start": "earlier"},
        f"search.warm_start: {KERAS_TUNER} cannot learn from earlier trials",
    ),
    "executions for KerasTuner": ({"sampler": KERAS_TUNER, "executions": 2}, "search.executions: found 2, but"),
    "seconds without a model of them": (
        {"sampler": "tpe", "cost": "seconds"},
        "search.cost: found seconds, but tpe does not weigh them; expected epochs, or the sampler gp",
    ),
    "seconds for several objectives": (
        {"objective": ["val_macro_f1", "-flops"], "cost": "seconds"},
        "search.cost: found seconds with 2 objectives, but only gp weighs them, and it takes one; expected ",
    ),
    "seconds for KerasTuner": (
        {"sampler": KERAS_TUNER, "cost": "seconds"},
        f"search.cost: found seconds, but {KERAS_TUNER} does not weigh them",
    ),
    "not a scheduler": (
        {"scheduler": f"{OWN}:HalfARule"},
        f"search.scheduler: {OWN}:HalfARule has neither the methods",
    ),
}


@pytest.mark.parametrize(("settings", "message"), BAD_NAMES.values(), ids=list(BAD_NAMES))
def test_what_is_refused_without_a_space(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as refusal:
        check_names(SearchConfig.model_validate(settings), epochs=9)
    assert len(refusal.value.problems) == 1
    assert "\n" not in str(refusal.value)


def test_a_scheduler_of_ones_own_is_tried_with_the_epochs_of_the_sweep():
    search = SearchConfig(scheduler=f"{OWN}:StrictScheduler", first_rung=3)
    check_names(search, epochs=9)
    with pytest.raises(ConfigError, match="first_rung 3 leaves no rung below 3 epochs"):
        check_names(search, epochs=3)


def with_prior(space):
    return SearchSpace(replace(each, prior=Prior(each.default, 0.7)) for each in space.hyperparameters)


BAD_FOR_A_SPACE = {
    "prior for a grid": (
        {"sampler": "grid"},
        with_prior(FINITE),
        "space.a.prior: grid cannot use a prior; leave it out, or choose one of the samplers gp, tpe, random, qmc, ",
    ),
    "prior for KerasTuner": ({"sampler": KERAS_TUNER}, with_prior(FINITE), f"space.a.prior: {KERAS_TUNER} cannot use"),
    "grid over any number": (
        {"sampler": "grid"},
        MIXED,
        "space.rate: any number from 0.0001 to 0.1, which a grid cannot list; give it values or a step",
    ),
    "nothing for cmaes": ({"sampler": "cmaes"}, only_categories(), "search.sampler: cmaes searches numbers"),
    "unknown option": (
        {"sampler": f"{OWN}:OwnSampler", "sampler_options": {"raech": 2}},
        MIXED,
        'search.sampler_options.raech: search.user_classes:OwnSampler does not take it; did you mean "reach"?',
    ),
    "option that is not the user's": (
        {"sampler": KERAS_TUNER, "sampler_options": {"objective": "loss"}},
        MIXED,
        "search.sampler_options.objective: is set by galaxy_exp",
    ),
    "option of a wrong value": (
        {"sampler": "keras_tuner.oracles.HyperbandOracle", "sampler_options": {"factor": 1}},
        MIXED,
        "search.sampler: keras_tuner.oracles.HyperbandOracle raised ValueError: factor needs to be",
    ),
}


@pytest.mark.parametrize(("settings", "space", "message"), BAD_FOR_A_SPACE.values(), ids=list(BAD_FOR_A_SPACE))
def test_what_is_refused_for_a_space(settings, space, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_search(SearchConfig.model_validate(settings), space, epochs=20)


@pytest.mark.parametrize("sampler", [*SAMPLERS, KERAS_TUNER, "optuna.samplers:NSGAIISampler", f"{OWN}.OwnOracle"])
def test_what_is_named_is_built(sampler):
    search = SearchConfig(sampler=sampler)
    check_search(search, FINITE, epochs=6)
    proposals = drive(build_proposer(search, FINITE, epochs=6), 5)
    assert len(distinct(proposals)) == 5


def test_priors_for_a_sampler_of_ones_own():
    space = with_prior(MIXED)
    search = SearchConfig(sampler="optuna.samplers:NSGAIISampler", sampler_options={"population_size": 4})
    check_search(search, space, epochs=6)
    uninterrupted = drive(build_proposer(search, space, epochs=6), 16)
    assert uninterrupted[0] == space.expected
    assert drive(build_proposer(search, space, epochs=6), 16, recorded=uninterrupted[:9]) == uninterrupted


@pytest.mark.parametrize("cost", ["epochs", "seconds"])
def test_seconds_are_weighed_where_they_count(cost):
    """Shallow networks are quick, and as good."""

    def outcome(number, values):
        score = score_of(values | {"depth": 0})
        seconds = 10.0 ** values["depth"]
        return Outcome(TrialState.COMPLETED, (score,), (score,), epoch_seconds=seconds)

    search = SearchConfig(cost=cost)
    proposals = drive(build_proposer(search, MIXED, epochs=6), 30, outcome=outcome)
    n_shallow = sum(values["depth"] == 1 for values in proposals[5:])
    assert (n_shallow > 11) == (cost == "seconds")
    resumed = drive(build_proposer(search, MIXED, epochs=6), 30, outcome=outcome, recorded=proposals[:17])
    assert resumed == proposals


def test_where_seconds_count_the_beginning_is_cheap():
    """Before the process is asked, which fifteen trials that were stopped do not suffice for."""

    def outcome(number, values):
        return Outcome(TrialState.STOPPED, (0.5,), (0.5,), epoch_seconds=10.0 ** values["depth"])

    def n_shallow(cost):
        proposals = drive(build_proposer(SearchConfig(cost=cost), MIXED, epochs=6), 14, outcome=outcome)
        return sum(values["depth"] == 1 for values in proposals)

    assert n_shallow("seconds") > n_shallow("epochs") + 2


def test_seconds_of_earlier_sweeps_are_of_another_machine():
    values = MIXED.defaults
    evidence = [
        Evidence(values | {"depth": depth}, Outcome(TrialState.COMPLETED, (0.0,), (0.0,), epoch_seconds=seconds))
        for depth, seconds in ((1, None), (2, 1000.0), (3, 1e6))
    ]
    without = [replace(each, outcome=replace(each.outcome, epoch_seconds=None)) for each in evidence]
    searches = [
        build_proposer(SearchConfig(cost="seconds"), MIXED, epochs=6, evidence=each) for each in (evidence, without)
    ]
    first, second = (drive(each, 12) for each in searches)
    assert first == second


def test_the_sweep_files_settings_reach_the_search():
    search = SearchConfig(sampler="random", executions=2, seed=5, objective=["val_loss", "-parameters"])
    evidence = [Evidence({"width": 16}, Outcome(TrialState.FAILED))]
    proposer = build_proposer(search, MIXED, epochs=6, evidence=evidence)
    proposals = drive(proposer, 4, outcome=lambda *_: Outcome(TrialState.COMPLETED, (1.0,), (1.0, 2.0)))
    assert proposals[0] == proposals[1] != proposals[2]
    assert proposals[0] != drive(build_proposer(SearchConfig(sampler="random"), MIXED, epochs=6), 1)[0]


def test_options_reach_the_class():
    search = SearchConfig(sampler="optuna.samplers.TPESampler", sampler_options={"n_startup_trials": -1})
    check_search(search, MIXED, epochs=6)
    with pytest.raises(ConfigError, match=r"sampler_options\.bonsu: .* does not take it"):
        check_search(
            SearchConfig(sampler=f"{OWN}:OwnOracle", sampler_options={"bonsu": 1}),
            MIXED,
            epochs=6,
        )
    oracle = SearchConfig(sampler=f"{OWN}:OwnOracle", sampler_options={"bonus": 1, "max_trials": 3})
    assert len(drive(build_proposer(oracle, MIXED, epochs=6), 9)) == 3


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    "sampler", [f"{OWN}:OwnSampler", "optuna.samplers:NSGAIISampler", "optuna.samplers:CmaEsSampler"]
)
def test_a_sampler_with_a_state_of_its_own_goes_through_it_again(sampler, workers):
    options = {"population_size": 4} if "NSGA" in sampler else {}
    search = SearchConfig(sampler=sampler, sampler_options=options)
    uninterrupted = drive(build_proposer(search, MIXED, epochs=6), 24, workers)
    resumed = drive(build_proposer(search, MIXED, epochs=6), 24, workers, recorded=uninterrupted[:15])
    assert resumed == uninterrupted


def test_a_sampler_that_proposes_otherwise_is_told_what_was_tried():
    search = SearchConfig(sampler=f"{OWN}:OwnSampler")
    recorded = drive(build_proposer(search, MIXED, epochs=6), 8)
    other_seed = build_proposer(SearchConfig(sampler=f"{OWN}:OwnSampler", seed=9), MIXED, epochs=6)
    proposals = drive(other_seed, 12, recorded=recorded)
    assert len(distinct(proposals)) == 12


def test_a_sampler_that_raises_ends_the_sweep_in_one_line():
    proposer = build_proposer(SearchConfig(sampler=f"{OWN}:RaisingSampler"), MIXED, epochs=6)
    message = "search.sampler: search.user_classes:RaisingSampler raised ZeroDivisionError"
    with pytest.raises(SweepFailedError, match=message):
        proposer.propose(0)


def test_a_module_that_ends_the_program(tmp_path, monkeypatch):
    (tmp_path / "sampler_that_exits.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot import sampler_that_exits: SystemExit \(from sys.exit or"):
        build_proposer(SearchConfig(sampler="sampler_that_exits:Thing"), MIXED, epochs=6)


def test_a_scheduler_of_ones_own():
    scheduler = build_scheduler(SearchConfig(scheduler=f"{OWN}:OwnScheduler", first_rung=3), epochs=9)
    assert isinstance(scheduler, UserScheduler)
    assert vars(scheduler.scheduler)["settings"] == (9, 3)
    assert scheduler.decide(0, {0: [0.1] * 3}, ()) is Decision.PAUSE


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RaisingScheduler", "search.scheduler: search.user_classes:RaisingScheduler raised ZeroDivisionError"),
        ("VagueScheduler", "VagueScheduler: decide returned True; expected a member of galaxy_exp.records.Decision"),
    ],
)
def test_a_scheduler_that_does_not_decide_ends_the_sweep_in_one_line(name, message):
    scheduler = build_scheduler(SearchConfig(scheduler=f"{OWN}:{name}"), epochs=9)
    with pytest.raises(SweepFailedError, match=message):
        scheduler.decide(0, {0: [0.1] * 3}, ())


@pytest.mark.parametrize("key", ["scheduler", "pruner"])
def test_a_stopping_rule_of_ones_own_is_a_scheduler_that_pauses_nothing(key):
    search = SearchConfig.model_validate({key: f"{OWN}:OwnRule", "patience": 4})
    scheduler = build_scheduler(search, epochs=9)
    assert isinstance(scheduler, UserScheduler)
    assert isinstance(scheduler.scheduler, StoppingScheduler)
    assert vars(scheduler.scheduler.rule)["settings"] == ("val_macro_f1", 9, 4)
    assert scheduler.first_decision(1) == 4
    answers = [scheduler.decide(0, {0: [0.1] * epochs, 1: [0.2] * 9}, ()) for epochs in (3, 4)]
    assert answers == [Decision.CONTINUE, Decision.STOP]


@pytest.mark.parametrize(("key", "methods"), [("sampler", ["auto", *SAMPLERS]), ("scheduler", SCHEDULERS)])
def test_the_configuration_knows_the_same_names(key, methods):
    """It says what is wrong with a name before anything slow is imported."""
    assert [getattr(SearchConfig.model_validate({key: name}), key) for name in methods] == list(methods)
    with pytest.raises(ValueError, match=f'unknown {key} "no_such"; known: {", ".join(methods)}, or package'):
        SearchConfig.model_validate({key: "no_such"})


@pytest.mark.parametrize("methods", [SAMPLERS, SCHEDULERS], ids=["samplers", "schedulers"])
def test_the_table_of_methods_is_complete(methods):
    for name, method in methods.items():
        assert callable(method.load())
        assert method.label or name == "none"
        assert set(method.citations) <= set(read_references())
        assert set(method.options) <= set(SearchConfig.model_fields)
