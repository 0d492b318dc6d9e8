"""Running trials: the ask/tell loop, and the engines that own the worker processes."""
