"""The products of the benchmark, one a module: rule, check, good scenes, ways to break them, painting."""
