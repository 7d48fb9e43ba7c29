"""Figures as plotly objects that can be changed."""
