"""The recorded sample market that ships with Don; see NOTICE.md for its source and licence."""
