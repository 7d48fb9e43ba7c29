"""From a spec to an accuracy: data, augmentation, recipes, the training loop."""

import os

# Idle OpenMP threads that spin starve any other process on the machine; read once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
