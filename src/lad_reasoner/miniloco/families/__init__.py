"""Families of free scenes for pretraining: each draw of a family is a product of its own.

`free.py` lists the families. A family has three modules: the draw (`wiring.py`), the rule of one draw (`…_rules.py`:
words, good scenes, check, painting) and the ways to break it (`…_defects.py`). `sorts.py` holds the loose parts,
`tray_contents.py` the contents of a tray's compartments.
"""
