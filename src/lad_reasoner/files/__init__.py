"""Files: pictures from the outside world, JSON lines, tables, atomic writes and locks."""
