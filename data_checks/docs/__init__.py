"""Write the page of a data check: one HTML file that needs no script and no network."""
