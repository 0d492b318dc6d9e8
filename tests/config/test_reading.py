"""Sweep files: what is accepted, and the one line that each mistake gives."""

from pathlib import Path

import pytest

from galaxy_exp.config import dump_sweep, load_sweep, parse_sweep
from galaxy_exp.config.plain_yaml import dump_block, dump_flow, parse_yaml
from galaxy_exp.config.reading import FlagValue
from galaxy_exp.config.sweep import PriorConfig, PriorSpace, RangeSpace, SweepConfig, ValuesSpace
from galaxy_exp.errors import ConfigError

CONTRACT = """
name: gz2-first
data:
  source: galaxies.h5
  split: {validation: 0.15, test: 0.15, seed: 7}
hypermodel: galaxy-cnn
space:
  filters_1: {values: [16, 32, 64]}
  dropout_2: {min: 0.2, max: 0.6}
  learning_rate: {min: 1.0e-4, max: 3.0e-3, scale: log}
  augmentation: flips+rotations
training: {epochs: 20, precision: auto}
search: {sampler: tpe, scheduler: asha, objective: val_macro_f1, max_trials: 20, seed: 1}
execution: {engine: inline, workers: 1}
tracking: {experiment: galaxy10}
registry: {model: galaxy10-cnn}
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text: str) -> Path:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return path

    return write_file


class TestReading:
    def test_the_contract_is_read(self, write):
        config = load_sweep(write(CONTRACT))
        assert config.name == "gz2-first"
        assert config.space["filters_1"] == ValuesSpace(values=(16, 32, 64))
        assert config.space["dropout_2"] == RangeSpace(min=0.2, max=0.6)
        assert config.space["learning_rate"] == RangeSpace(min=1e-4, max=3e-3, scale="log")
        assert config.space["augmentation"] == "flips+rotations"

    def test_a_prior_stands_alone_or_beside_values_and_ends(self, write):
        prior = PriorConfig(centre=0.2, confidence=0.5)
        text = "{dropout_1: {prior: P}, dropout_2: {min: 0, max: 0.5, prior: P}, width: {values: [0.2, 1], prior: P}}"
        space = load_sweep(write("space: " + text.replace("P", "{centre: 0.2, confidence: 0.5}"))).space
        assert space["dropout_1"] == PriorSpace(prior=prior)
        assert [space[name].prior for name in ("dropout_2", "width")] == [prior, prior]
        assert load_sweep(write(dump_sweep(SweepConfig(space=space)))).space == space
        assert "prior" not in dump_sweep(SweepConfig(space={"width": ValuesSpace(values=(1, 2))}))
        (set_alone,) = load_sweep(write("{}"), ["space.dropout_1.prior.centre=0.2"]).space.values()
        assert set_alone == PriorSpace(prior=PriorConfig(centre=0.2, confidence=0.7))

    def test_every_key_has_a_default(self, write):
        assert load_sweep(write("{}")) == SweepConfig()

    def test_what_is_dumped_reads_back_equal(self, write):
        config = load_sweep(write(CONTRACT))
        assert load_sweep(write(dump_sweep(config))) == config

    @pytest.mark.parametrize(
        "text",
        (
            "08", "-08", "010", "1e5", "1e-3", "0e0", ".5e3", "1.e3", "0_8", "0x1F", "1:30", ".inf", "no", "null",
            "true", "", " a ", "a: b", "# a", "a\nb", "a\x85b", "a\u2028b", "a\x07b", "\ufeffa", "café",
        ),
    )  # fmt: skip
    def test_text_is_dumped_so_that_it_stays_text(self, text):
        value = {"alone": text, "listed": [text], text: 1}
        for written in (dump_flow(value), dump_block(value)):
            assert parse_yaml(written, "sweep.yaml") == value
        assert dump_flow(value).splitlines() == [dump_flow(value)]

    def test_a_number_in_scientific_notation_needs_no_point(self, write):
        config = load_sweep(write("space: {learning_rate: {min: 1e-4, max: 3e-3, scale: log}}"))
        assert config.space["learning_rate"] == RangeSpace(min=1e-4, max=3e-3, scale="log")

    def test_words_that_old_yaml_takes_for_booleans_stay_words(self, write):
        assert load_sweep(write("space: {augmentation: no}")).space["augmentation"] == "no"

    def test_a_config_is_frozen(self):
        with pytest.raises(ValueError, match="frozen"):
            SweepConfig().name = "other"


class TestOverrides:
    def test_the_last_one_wins_over_the_file(self, write):
        config = load_sweep(write(CONTRACT), ["search.max_trials=50", "search.max_trials=60", "space.filters_1=8"])
        assert config.search.max_trials == 60
        assert config.space["filters_1"] == 8

    def test_a_value_may_be_a_section(self, write):
        config = load_sweep(write("{}"), ["space.dropout_1={min: 0.1, max: 0.2}"])
        assert config.space["dropout_1"] == RangeSpace(min=0.1, max=0.2)

    @pytest.mark.parametrize("override", ["search", "=3", "search.=3", ""])
    def test_without_key_and_value_it_is_refused(self, write, override):
        with pytest.raises(ConfigError, match=r"--set .*expected key.path=value"):
            load_sweep(write("{}"), [override])

    def test_a_mistake_is_blamed_on_the_flag(self, write):
        with pytest.raises(ConfigError, match=r"^--set search.max_trials: found 0; expected a value greater"):
            load_sweep(write(CONTRACT), ["search.max_trials=0"])

    def test_a_key_below_a_list_is_blamed_on_the_flag(self, write):
        with pytest.raises(ConfigError, match=r"^--set search.enqueue.0.x: search.enqueue: found .*; expected a list"):
            load_sweep(write(CONTRACT), ["search.enqueue.0.x=3"])

    def test_a_key_below_a_plain_value_is_refused(self, write):
        with pytest.raises(ConfigError, match="name is 'gz2-first', not a section that could hold x"):
            load_sweep(write(CONTRACT), ["name.x=1"])


class TestFlags:
    """Flags of their own, such as `--name`; their values are not read as YAML."""

    @pytest.mark.parametrize("text", ["run #2/g.h5", "2024", "true", "{a: b}", "null"])
    def test_text_stays_the_text_it_is(self, write, text):
        assert load_sweep(write(CONTRACT), flags=[FlagValue("--data", "data.source", text)]).data.source == text

    def test_they_win_over_the_file_and_over_set(self, write):
        flags = [FlagValue("--max-trials", "search.max_trials", 70)]
        assert load_sweep(write(CONTRACT), ["search.max_trials=60"], flags).search.max_trials == 70

    def test_a_mistake_is_blamed_on_the_flag_as_typed(self, write):
        flags = [FlagValue("--max-trials", "search.max_trials", 0)]
        with pytest.raises(ConfigError, match=r"^--max-trials: found 0; expected a value greater"):
            load_sweep(write(CONTRACT), ["search.max_trials=60"], flags)

    def test_a_plain_value_where_the_section_should_be_is_named(self, write):
        with pytest.raises(ConfigError, match=r"^--seed 3: search is 'tpe', not a section that could hold seed"):
            load_sweep(write("search: tpe"), flags=[FlagValue("--seed", "search.seed", 3)])


MISTAKES = {
    "nmae: x": r'nmae: unknown key; did you mean "name"\?',
    "serach: {sampler: tpe}": r'serach: unknown key; did you mean "search"\?',
    "search: {max_trial: 3}": r'search.max_trial: unknown key; did you mean "max_trials"\?',
    "search: {enqueue: {filters_1: 8}}": r"search.enqueue: found .*; expected a list, such as \[a, b\]$",
    "space: [a]": r"space: found \['a'\]; expected keys with values$",
    "search: {max_trials: 1,000}": "expected text as the key$",
    "data: {source: ''}": "data.source: found ''; expected text that is not empty$",
    "search: {max_trials: many}": r"search.max_trials: found 'many'; expected a valid integer",
    "search: {sampler: tep}": r'search.sampler: unknown sampler "tep"; did you mean "tpe"\? known: auto, gp, tpe',
    "search: {scheduler: asah}": r'search.scheduler: unknown scheduler "asah"; did you mean "asha"\? known: promote',
    "search: {pruner: asah}": r'search.scheduler: unknown scheduler "asah"; did you mean "asha"\? known: promote',
    "search: {pruner: none, scheduler: none}": r"search: scheduler and pruner, its former name, are both set",
    "search: {constraints: {params: '<= 3'}}": r"search.constraints: unknown quantity 'params'; expected one of para",
    "search: {constraints: {flops: '< 3'}}": r"search.constraints: flops: found '< 3'; expected \"<= NUMBER\"",
    "search: {objective: [val_loss, parameters]}": r"search.objective: found 'parameters'; expected one of .*-param",
    "search: {objective: [-parameters]}": r"search.objective: found '-parameters'; expected one of val_macro_f1",
    "search: {objective: []}": r"search.objective: the list is empty",
    "search: {objective: [val_loss, val_loss]}": r"search.objective: an objective is listed twice",
    "search: {warm_start: ''}": r"search.warm_start: found ''; expected the id of a sweep, or a list of different ones",
    "search: {warm_start: [a, a]}": r"search.warm_start: found \['a', 'a'\]; expected the id of a sweep",
    "search: {warm_start: [a, 3]}": r"search.warm_start: found \['a', 3\]; expected the id of a sweep",
    "search: {warm_start: 3}": r"search.warm_start: found 3; expected the id of a sweep",
    "search: {enqueue: [{filters_1: [16]}]}": r"search.enqueue: 0: filters_1 is \[16\]; expected a",
    "search: {objective: val_f1}": r'search.objective: found \'val_f1\'; expected .*did you mean "val_macro_f1"',
    "search: 3": r"search: found 3; expected a section of keys",
    "training: {epochs: 0}": r"training.epochs: found 0; expected a value greater than or equal to 1",
    "training: {precision: bf16}": r"training.precision: found 'bf16'; expected auto, float32",
    "data: {split: {validation: 0.6, test: 0.5}}": r"data.split: validation \+ test is 1.1, which leaves nothing",
    "data: {split: {validation: 0}}": r"data.split.validation: found 0; expected a value greater than 0",
    "data: {class_names: [a, a]}": r"data.class_names: two classes have the same name",
    "space: {filters_1: {values: []}}": r"space.filters_1.values: found \[\]; expected at least 1",
    "space: {filters_1: {values: [1, 1]}}": r"space.filters_1.values: a value is listed twice",
    "space: {filters_1: {values: [16, 16.0]}}": r"space.filters_1.values: a value is listed twice",
    "space: {filters_1: {values: [1], scale: log}}": r"space.filters_1.scale: does not go with values; expected",
    "space: {head: {values: [null, gap]}}": r"space.head.values.0: found None; expected a number, text, or true/false",
    "space: {filters_1: {values: [1, a]}}": r"space.filters_1.values: expected values of one kind",
    "space: {dropout_1: {min: 0.5, max: 0.2}}": r"space.dropout_1: min is 0.5 and max is 0.2; expected min < max",
    "space: {dropout_1: {min: 0.5}}": r"space.dropout_1.max: missing",
    "space: {dropout_1: {min: 0, max: 1, stpe: 2}}": r'space.dropout_1.stpe: unknown key; did you mean "step"',
    "space: {learning_rate: {min: 0, max: 1, scale: log}}": r"space.learning_rate: min is 0; expected above 0 with",
    "space: {learning_rate: {min: 1, max: 2, scale: lgo}}": r'space.learning_rate.scale: .*did you mean "log"',
    "space: {dropout_1: {prior: {centre: 0.1, confidence: 1}}}": r"space.dropout_1.prior.confidence: .*less than 1",
    "space: {dropout_1: {prior: {confidence: 0.5}}}": r"space.dropout_1.prior.centre: missing",
    "space: {dropout_1: {prior: {centre: [1]}}}": r"space.dropout_1.prior.centre: found \[1\]; expected",
    "space: {dropout_1: {prior: {centre: 1, confidnce: 0}}}": r'prior.confidnce: unknown .* you mean "confidence"',
    "space: {dropout_1: {prior: {centre: .nan}}}": r"space.dropout_1.prior.centre: found nan; expected a number",
    "space: {dropout_1: {prior: {centre: 1}, confidence: 0.5}}": (
        r"space.dropout_1.confidence: is a key of prior; expected prior: {centre: ..., confidence: 0.5}"
    ),
    "space: {dropout_1: {prior: 0.1}}": r"space.dropout_1.prior: found 0.1; expected a section of keys",
    "space: {dropout_1: {min: 0, max: 1, pror: {}}}": r'space.dropout_1.pror: unknown key; did you mean "prior"',
    "space: {filters_1: [1, 2]}": r"space.filters_1: found \[1, 2\]; expected a plain value, \{values",
    "space: {filters_1: null}": r"space.filters_1: found None; expected a plain value",
    "name: 'a b'": r"name: found 'a b'; expected text matching",
    "name: a\nname: b": r":2:1: not valid YAML: key 'name' appears twice",
    "name: [": r"not valid YAML",
    "- a\n- b": r"found list at the top; expected keys",
    "registry: {model: ..}": r"registry.model: found '..'; expected a name with a letter or digit",
    "registry: {model: ' '}": r"registry.model: found ' '; expected a name with a letter or digit",
    f"registry: {{model: {'a' * 257}}}": r"registry.model: found 'a+…; expected text with at most 256 characters",
    f"tracking: {{experiment: {'a' * 501}}}": r"tracking.experiment: found 'a+…; expected text with at most 500 char",
    "registry: {model: 'a/b'}": r"registry.model: found 'a/b'; expected text matching",
    "execution: {engine: ray}": r"execution.engine: found 'ray'; expected local, inline or dask",
    "execution: {engine: inline, workers: 2}": r"execution: engine: inline has one worker .*; workers: 2 needs",
    "execution: {engine: local, scheduler: 'tcp://a:1'}": r"local means this machine; scheduler needs engine: dask",
    "execution: {engine: inline, workers: auto}": r"execution: engine: inline has one worker .*; workers: auto needs",
    "execution: {workers: fast}": r"execution.workers: found 'fast'; expected a whole number from 1 .*, or auto$",
    "execution: {workers: 0}": r"execution.workers: found 0; expected a whole number from 1 to 10,000, or auto$",
    "execution: {workers: auto, scheduler: 'tcp://a:1'}": r"execution: workers: auto .*scheduler .*; expected a number",
    "execution: {workers: auto, cluster: slurm}": r"execution: workers: auto .*cluster uses others; expected a number",
    "execution: {scheduler: 'host:8786'}": r"execution.scheduler: found 'host:8786'; expected text matching",
    "execution: {scheduler: 'tcp://a:1', cluster: slurm}": r"execution: scheduler and cluster exclude each other",
    "execution: {cluster: slurm}": r"execution: cluster needs workers",
    "execution: {cluster_options: {cores: 2}}": r"execution: cluster_options are for a cluster, and there is none",
}


class TestMistakes:
    @pytest.mark.parametrize(("text", "message"), MISTAKES.items(), ids=list(MISTAKES))
    def test_each_gives_one_line_with_the_file(self, write, text, message):
        path = write(text)
        with pytest.raises(ConfigError, match=message) as caught:
            load_sweep(path)
        assert len(caught.value.problems) == 1
        assert caught.value.problems[0].startswith(str(path))

    def test_all_of_them_are_told_at_once(self, write):
        with pytest.raises(ConfigError) as caught:
            load_sweep(write("nmae: x\ntraining: {epochs: 0}\nsearch: {seed: -1}"))
        assert len(caught.value.problems) == 3

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(ConfigError, match=r"nowhere.yaml: no such file; galaxy-exp init writes a sweep file"):
            load_sweep(tmp_path / "nowhere.yaml")

    def test_a_folder_is_no_sweep_file(self, tmp_path):
        with pytest.raises(ConfigError, match="is a folder"):
            load_sweep(tmp_path)

    def test_a_file_that_is_not_text_is_refused(self, tmp_path):
        (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ConfigError, match="cannot be read"):
            load_sweep(tmp_path / "x.yaml")

    def test_yaml_cannot_make_python_objects(self, write):
        with pytest.raises(ConfigError, match="not valid YAML: could not determine a constructor"):
            load_sweep(write("name: !!python/object/apply:os.getcwd []"))

    def test_a_mapping_in_memory_is_checked_alike(self):
        with pytest.raises(ConfigError, match=r"^sweep: serach: unknown key"):
            parse_sweep({"serach": {}})


class TestHostileFiles:
    LAUGHS = "a: &a [x, x]\n" + "".join(
        f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )

    @pytest.mark.parametrize(
        ("text", "place", "message"),
        [
            (LAUGHS, "6:4", "more than 100,000 values"),
            ("space: &a {b: *a}", "1:15", "*a refers to itself"),
            ("a: &x 1\nb: [&x {}]", "2:5", "the anchor &x appears twice"),
            ("a: &x {}\nb:\n  <<: *x", "3:3", "<<, the merge key of YAML 1.1; expected the keys themselves"),
            ("name: " + "[" * 60, "1:57", "nested more than 50 deep"),
            ("name: a\nsearch: !!python/object/apply:os.system [ls]", "2:9", "could not determine a constructor"),
            ("search: {seed: 99999999999999999999}", "1:16", "a whole number beyond 9223372036854775807"),
            ('data: {source: "\\ud800"}', "1:16", "text with a character that no file can hold"),
            ('data: {source: "a\\0b"}', "1:16", "text with a character that no file can hold"),
            ("name: a\x07", "1", "a control character"),
        ],
    )
    def test_are_refused_with_line_and_column(self, write, text, place, message):
        file = write(text)
        with pytest.raises(ConfigError) as refused:
            load_sweep(file)
        (problem,) = refused.value.problems
        assert problem.startswith(f"{file}:{place}")
        assert message in problem

    def test_bytes_that_are_no_text_are_named_by_line(self, write):
        file = write("name: a\n")
        file.write_bytes(b"name: a\ndata: \xff")
        with pytest.raises(ConfigError, match=r"sweep.yaml:2: cannot be read: .*; expected text in UTF-8"):
            load_sweep(file)

    def test_a_file_without_end_is_not_read_whole(self):
        with pytest.raises(ConfigError, match="/dev/zero: is larger than 1,048,576 bytes"):
            load_sweep("/dev/zero")

    @pytest.mark.parametrize(
        "text",
        [
            "data: {options: {a: [{b: .nan}]}}",
            "search: {sampler_options: {a: -.inf}}",
            "search: {enqueue: [{units: 1}, {units: .nan}]}",
        ],
    )
    def test_numbers_that_a_journal_cannot_hold_are_refused(self, write, text):
        with pytest.raises(ConfigError, match=r"holds (nan|-inf); expected finite numbers"):
            load_sweep(write(text))

    def test_a_date_is_a_word(self, write):
        assert load_sweep(write("name: 2026-11-22")).name == "2026-11-22"

    def test_a_message_shows_part_of_a_long_value_and_no_line_break(self, write):
        with pytest.raises(ConfigError) as refused:
            load_sweep(write(f'"a\\nb": 1\nsearch: {{seed: {"x" * 5000}}}\n'))
        assert any(r"a\nb: unknown key" in problem for problem in refused.value.problems)
        assert all(len(problem) < 400 for problem in refused.value.problems)


@pytest.mark.parametrize(
    ("content", "experiment", "model"),
    [
        ({}, "galaxy10", "galaxy10-cnn"),
        ({"name": "sweep"}, "galaxy10", "galaxy10-cnn"),
        ({"name": "sweep", "registry": {"model": "m"}, "data": {"source": "x.h5"}}, "sweep-x", "m"),
        ({"data": {"source": "galaxy10-decals"}}, "galaxy10", "galaxy10-cnn"),
        ({"data": {"source": "folder/"}}, "mine", "mine"),
        ({"hypermodel": "own:Net"}, "mine", "mine"),
        ({"hypermodel": "own:Net", "registry": {"model": "a b"}}, "mine", "a b"),
        ({"data": {"source": "x.h5"}, "tracking": {"experiment": "x"}}, "x", "mine"),
    ],
)
def test_experiment_and_model_are_called_as_the_sweep_unless_all_is_built_in(content, experiment, model):
    config = parse_sweep({"name": "mine", **content})
    assert (config.experiment_name, config.model_name) == (experiment, model)
    named = config.named()
    assert (named.tracking.experiment, named.registry.model) == (experiment, model)
    assert named.named("other", "other") == named
    assert parse_sweep(named.model_dump(mode="json")).named() == named
    by_variable = config.named("from the environment").tracking.experiment
    assert by_variable == (content.get("tracking", {}).get("experiment") or "from the environment")


SOURCE_NAMES = {
    "/x/galaxies.h5": "galaxies",
    "galaxies.HDF5": "galaxies",
    "~/a b/galaxies.csv.gz": "galaxies",
    "galaxies/": "galaxies",
    "galaxies/.": "galaxies",
    "a/../gz2.1": "gz2.1",
    "survey.data:Galaxies": "Galaxies",
    "my galaxies (2).npz": "my-galaxies-2",
    "x" * 200: "x" * 64,
}


@pytest.mark.parametrize("hypermodel", ["galaxy-cnn", "own:Net"])
@pytest.mark.parametrize("source", SOURCE_NAMES)
def test_without_a_name_experiment_and_model_are_called_as_the_data(source, hypermodel):
    config = parse_sweep({"data": {"source": source}, "hypermodel": hypermodel})
    assert config.experiment_name == config.model_name == f"sweep-{SOURCE_NAMES[source]}"
    named = config.named()
    assert (named.tracking.experiment, named.registry.model) == (config.experiment_name, config.model_name)


def test_names_that_are_not_ascii_are_told_apart(tmp_path, monkeypatch):
    names = {
        parse_sweep({"data": {"source": source}}).model_name for source in ("银河", "星系", "café", "cafe", "-.h5")
    }
    assert len(names) == 5
    for name in names:
        parse_sweep({"registry": {"model": name}, "tracking": {"experiment": name}})
    monkeypatch.chdir(tmp_path)
    assert parse_sweep({"data": {"source": "."}}).model_name == f"sweep-{tmp_path.name.rstrip('-')}"


@pytest.mark.parametrize(
    ("typed", "suffix"), [("png", ".png"), (".png", ".png"), ("_cutout.jpg", "_cutout.jpg"), ("_cutout", "_cutout")]
)
def test_a_dot_is_put_before_an_ending_alone(typed, suffix):
    assert parse_sweep({"data": {"file_suffix": typed}}).data.file_suffix == suffix


def test_what_overrides_of_a_mapping_leave_out_is_not_stated():
    """Else the objective of classes would count as chosen where the data have votes."""
    content = {"name": "mine", "training": {"precision": "float32"}}
    config = parse_sweep(content, overrides=["training.epochs=3"])
    assert (config.name, config.training.epochs, config.training.precision) == ("mine", 3, "float32")
    assert config.model_fields_set == {"name", "training"}
    assert content == {"name": "mine", "training": {"precision": "float32"}}
