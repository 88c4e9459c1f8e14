"""Write networks out: back-propagation by hand, a character RNN, a convolution, losses, the forecast of a series."""
