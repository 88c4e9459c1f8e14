"""Check tables between stages against suites of expectations (Great Expectations), and write Data Docs."""
