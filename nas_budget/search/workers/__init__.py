"""Who trains the trials: schedulers, trial runners, worker processes."""
