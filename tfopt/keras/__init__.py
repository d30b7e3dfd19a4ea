"""Models as Keras saves them: read into a SavedModel, and trained with what tensorflow-model-optimization knows."""
