"""What a trained model knows, measured."""
