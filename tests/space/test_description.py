from galaxy_exp.config.sweep import RangeSpace
from galaxy_exp.hypermodel import discover_space
from galaxy_exp.space.overrides import build_space
from galaxy_exp.space.search_space import Condition, Hyperparameter, Kind, SearchSpace, plain_text


def test_says_kind_domain_default_and_condition(hypermodel):
    space = build_space(
        hypermodel, {"batch_norm": True, "filters_2": RangeSpace(min=8, max=64)}, discover_space(hypermodel)
    )
    described = space.hyperparameters
    rows = {
        each.name: (
            each.kind.lower(), each.describe_values(plain_text), each.default, each.describe_conditions(plain_text)
        )
        for each in described
    }  # fmt: skip
    assert rows["n_blocks"] == ("int", "1 to 5", 1, "")
    assert rows["filters_1"] == ("choice", "16, 32, 64, 128", 32, "")
    assert rows["filters_2"] == ("int", "8 to 64", 64, "")
    assert rows["batch_norm"] == ("fixed", "true", True, "")
    assert rows["dropout_1"] == ("float", "0 to 0.6, step 0.05", 0.25, "")
    assert rows["learning_rate"] == ("float", "0.0001 to 0.003", 0.001, "")
    assert rows["weight_decay"] == ("float", "1e-05 to 0.1", 0.004, "optimizer is adamw")
    assert rows["width_growth"] == ("choice", "1, 1.5, 2", 2.0, "n_blocks is 2 to 5")
    scales = {row.name: row.scale for row in described}
    assert (scales["learning_rate"], scales["filters_2"], scales["filters_1"]) == ("log", "linear", "")
    assert list(rows) == space.names


def test_two_alternatives_are_joined_by_or(hypermodel):
    space = discover_space(hypermodel).get_config()
    condition = Condition("optimizer", ("adam", "sgd"))
    extra = Hyperparameter(Kind.BOOLEAN, "extra", True, (condition,), (False, True))
    last = SearchSpace.from_config({"space": [*space["space"], extra.get_config()]}).hyperparameters[-1]
    told = last.kind.lower(), last.describe_values(plain_text), last.describe_conditions(plain_text)
    assert told == ("boolean", "false, true", "optimizer is adam or sgd")
