"""Data sets on disk: their layouts, tables, masks, and MMAD's annotations."""
