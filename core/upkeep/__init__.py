"""Keep a home folder small: who uses stored results and since when, and how results are removed safely."""
