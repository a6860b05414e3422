"""Search for better settings of a config: what may change, a study of trials on the disk, and what it found."""
