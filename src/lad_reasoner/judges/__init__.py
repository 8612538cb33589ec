"""Judges: from pairs of pictures to judgements."""
