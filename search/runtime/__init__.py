"""What every process needs: random numbers, ranks, stored tensors."""
