"""Features of a history on disk: computed once, extended when new bars come, mapped when read."""
