"""What `acgs bench` runs: the product measured on stated work, one RESULT line each."""
