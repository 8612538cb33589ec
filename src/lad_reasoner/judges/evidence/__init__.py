"""The built-in judge for photographs: two-way patch matching, and its measurement in words."""
