"""The search space: hyperparameters, their values and conditions. It needs neither Keras nor Optuna."""
