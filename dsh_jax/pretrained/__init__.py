"""Published weights of networks: found, read and given to Flax."""
