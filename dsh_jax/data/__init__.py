"""Images with labels, the splits drawn from them, and the batches drawn from the splits."""
