"""The words of the product: frozen values without I/O."""
