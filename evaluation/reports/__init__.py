"""Write reports, data cards and model cards as HTML and Markdown."""
