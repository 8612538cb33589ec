"""Evaluation: benchmarks, runs, metrics, and what the explanations are worth."""
