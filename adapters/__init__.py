"""One outside thing per file; vendor errors are translated here and nowhere else."""
