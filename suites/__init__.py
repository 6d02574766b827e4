"""Other people's test suites, unchanged, on our engine and on Django's own: see docs/suites.md."""
