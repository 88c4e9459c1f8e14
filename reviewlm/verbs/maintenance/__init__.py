"""Define the commands that maintain an installation and its home folder."""
