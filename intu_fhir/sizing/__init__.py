"""How many receivers, workers and how much disk a site needs: a simulation with its own figures."""
