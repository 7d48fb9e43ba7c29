"""Which network next, when to stop it, where trials live and run."""
