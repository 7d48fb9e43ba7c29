"""From the trials table to figures and a page."""
