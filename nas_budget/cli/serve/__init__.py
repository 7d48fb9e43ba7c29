"""Servers and signals: the live page, the dashboard, Ctrl-C."""
