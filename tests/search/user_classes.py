"""Classes that a user might name in a sweep file."""

import keras_tuner
import optuna

from galaxy_exp.records import Decision


class OwnSampler(optuna.samplers.RandomSampler):
    """Remembers, so that its choices depend on more than the trials it is shown."""

    def __init__(self, seed=None, reach=3):
        super().__init__(seed=seed)
        self.asked = 0
        self.reach = reach

    def before_trial(self, study, trial):
        self.asked += 1
        study._storage.set_trial_system_attr(trial._trial_id, "asked", self.asked)
        super().before_trial(study, trial)


class OwnOracle(keras_tuner.oracles.RandomSearchOracle):
    """Takes an argument more, and the others as they come."""

    def __init__(self, bonus=0, **kwargs):
        super().__init__(**kwargs)
        self.bonus = bonus


class ImpatientOracle(keras_tuner.Oracle):
    """Raises in the second trial."""

    def populate_space(self, trial_id):
        if len(self.trials):
            raise ZeroDivisionError("nothing left")
        return {"status": "RUNNING", "values": {}}


class RaisingSampler(optuna.samplers.RandomSampler):
    def sample_relative(self, study, trial, search_space):
        raise ZeroDivisionError("nothing left")


class OwnRule:
    def __init__(self, objective, epochs, patience):
        self.settings = (objective.name, epochs, patience)

    def is_rung(self, number, epoch):
        return epoch == self.settings[2]

    def should_stop(self, number, curve, others):
        return True

    def first_decision(self, number):
        return self.settings[2]


class OracleOfThree(keras_tuner.oracles.RandomSearchOracle):
    def __init__(self, objective, hyperparameters, seed):
        super().__init__(objective=objective, max_trials=3, hyperparameters=hyperparameters, seed=seed)


class OwnScheduler:
    def __init__(self, epochs, first_rung):
        self.settings = (epochs, first_rung)

    def decide(self, number, curves, paused):
        return Decision.PAUSE if len(curves[number]) == self.settings[1] else Decision.CONTINUE

    def choose(self, curves, paused, *, can_start_new):
        return None if can_start_new else min(paused, default=None)

    def first_decision(self, number):
        return self.settings[1]


class StrictScheduler(OwnScheduler):
    def __init__(self, epochs, first_rung):
        if first_rung >= epochs:
            raise ValueError(f"first_rung {first_rung} leaves no rung below {epochs} epochs")
        super().__init__(epochs, first_rung)


class RaisingScheduler(OwnScheduler):
    def decide(self, number, curves, paused):
        raise ZeroDivisionError("nothing left")


class VagueScheduler(OwnScheduler):
    def decide(self, number, curves, paused):
        return True


class HalfARule:
    def is_rung(self, number, epoch):
        return False


FIVE = 5
