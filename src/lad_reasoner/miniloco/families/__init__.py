"""Families of free scenes for pretraining: each draw of a family is a product of its own."""
