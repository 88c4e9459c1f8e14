"""Where the seconds of a run go: a Gantt of its stages, with the cores and the memory that they use."""
