"""Training sets: what they are drawn from, how they are built, checked and exported."""
