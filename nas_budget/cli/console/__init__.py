"""What the terminal shows: progress, tables of text, costs, studies, trials, training runs."""
