"""The version, in one place: packaging and run records read it here."""

__version__ = "0.2.0"
