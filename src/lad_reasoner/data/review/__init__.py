"""The review of a built set by a person."""
