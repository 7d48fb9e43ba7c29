"""Images: data sets on disk, the split, augmentation."""
