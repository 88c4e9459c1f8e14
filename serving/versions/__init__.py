"""Keep versions of a registered model open: champion, challenger, and others while they are asked for."""
