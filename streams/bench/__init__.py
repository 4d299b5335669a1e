"""What `acgs bench` runs."""
