"""Ray actors: one class a file, thin over `don`. Names, options and remoteness are in `runtime`."""
