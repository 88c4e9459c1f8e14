"""Train networks that give labels to texts or words."""
