"""Labels of reviews: from the stars, or from a field of the files; and whether there are enough."""
