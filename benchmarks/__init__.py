"""Scripts that train the bundled model, build the real models and print the tables of the README."""
