"""Pruners: `FrontPruner`, and a factory for those of Optuna."""
