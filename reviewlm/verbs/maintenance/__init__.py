"""Define the commands that look after an installation and its home folder."""
