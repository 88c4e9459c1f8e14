"""Show results in a terminal: text and tables that fit its width, models, stages and reports."""
