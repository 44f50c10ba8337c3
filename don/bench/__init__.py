"""Measurements of Don against its peers: each area a module with `rows(full)`."""
