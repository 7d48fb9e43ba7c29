"""Samplers: what a search proposes next."""
