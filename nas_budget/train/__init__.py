"""From a spec to an accuracy: data, augmentation, recipes, the training loop."""
