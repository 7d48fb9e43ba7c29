"""Where trials live: Optuna's storage, the journal, and the tables made from them."""
