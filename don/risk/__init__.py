"""What may leave the desk: limits on targets and orders, typed refusals. Pure."""
