"""Settings: from a study file to a `StudyConfig` in which nothing is open, and the plan of a search."""
