"""Train, merge, evaluate: each reads files and writes files, is skipped when done and goes on when killed."""
