"""Files: pictures read from the outside world, JSON lines, files that are whole or not there."""
