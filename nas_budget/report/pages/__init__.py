"""Self-contained HTML pages: a study, a training run, a search space."""
