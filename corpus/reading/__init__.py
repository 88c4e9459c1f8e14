"""Read review files of every supported format as blocks of rows."""
