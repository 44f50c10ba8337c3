"""Features: one kernel, two speeds. Bar by bar a feature gives exactly its batch."""
