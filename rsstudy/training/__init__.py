"""Training: the recipe, the loop, and several processes on one batch."""
