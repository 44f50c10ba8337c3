"""Portfolio choice: risk estimates, limits, the optimizer. Pure."""
