"""Jobs that run on a cluster: backtests and sweeps of them."""
