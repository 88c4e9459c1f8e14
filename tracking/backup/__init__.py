"""Back up a home folder into one archive, also while runs go on, and restore it."""
