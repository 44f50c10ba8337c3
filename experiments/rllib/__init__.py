"""Training on RLlib: a batched runner, lean connectors, Don's networks as modules."""
