"""Context extension: methods that let a trained model use a context beyond its trained length."""
