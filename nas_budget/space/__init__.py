"""What a search may propose: the space, how much of it fits a budget, and draws from it."""
