"""A network under training: model, trainer, loop, evaluation, checkpoints, weights, full training runs."""
