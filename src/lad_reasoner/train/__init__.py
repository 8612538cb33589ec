"""Both stages of the paper's training on TRL's trainers."""
