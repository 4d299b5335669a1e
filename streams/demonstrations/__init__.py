"""What `acgs dev --sample` shows, a module a part."""
