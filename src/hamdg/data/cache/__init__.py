"""Images decoded once: the files they are kept in, how these are filled, and the disk they take."""
