"""What makes the files that the packages ship."""
