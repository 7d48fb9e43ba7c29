"""Trained networks as files for others, each with a certificate."""
