"""The search: sampling, scheduling, training, scoring and reporting of trials."""
