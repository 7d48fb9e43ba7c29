"""The forms in which data sets are read: one file a form, and `registry` with all of them."""
