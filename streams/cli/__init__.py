"""The `acgs` command line."""
