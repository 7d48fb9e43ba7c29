"""A network as plain data and its exact cost: specs, costs, budgets, and what fits them."""
