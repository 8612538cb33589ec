"""What a person sees: HTML reports, the terminal, plots."""
