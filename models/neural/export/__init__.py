"""Export a fitted network as a graph that torch runs without this project."""
