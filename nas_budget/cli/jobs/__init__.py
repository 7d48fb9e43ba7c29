"""What the long commands do between parsing and leaving: plan, run, result."""
