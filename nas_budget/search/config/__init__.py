"""From a study file to settings in which nothing is open, and the plan of a search."""
