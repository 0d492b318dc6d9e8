"""MLflow as a projection of the journal: parent run = sweep, child run = trial."""
