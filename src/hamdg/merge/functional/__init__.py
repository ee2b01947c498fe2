"""What methods are built from: exact cutoffs, rows, random masks, mixtures, spectra, trajectories, permutations."""
