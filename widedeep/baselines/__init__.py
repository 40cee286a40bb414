"""Models whose right answer is known, on the same training loop: a newcomer's check that the stack is sound."""
