"""What is learned: a loss and metrics for a kind of label."""
