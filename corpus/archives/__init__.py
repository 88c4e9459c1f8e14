"""Read compressed files and archives as streams."""
