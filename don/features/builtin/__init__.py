"""Don's own kinds of features, by family; imported once by `don.features.registry`. Pure."""
