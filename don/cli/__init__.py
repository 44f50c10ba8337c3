"""The `don` command line: one module per command group, an entry point that nothing imports."""
