"""What happens in a run: types, and the journal that keeps them."""
