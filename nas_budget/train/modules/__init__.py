"""Torch modules of the user's own: code that is loaded by name, and a family of networks."""
