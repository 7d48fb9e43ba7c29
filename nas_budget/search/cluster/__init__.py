"""A search whose workers are on several machines: one coordinator owns the study, and engines carry its calls."""
