"""What Don tells monitors: metrics of every part, in Prometheus' text format."""
