"""From targets to orders and back: planning, order states, flattening, reconciliation. Pure."""
