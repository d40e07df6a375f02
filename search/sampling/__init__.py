"""Draw the configs of trials."""
