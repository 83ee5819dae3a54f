"""Files of weights: their safe reading and their conversion."""
