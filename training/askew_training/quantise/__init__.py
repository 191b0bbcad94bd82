"""From a trained student to one whose convolutions compute with bytes and that gives nearly the same vectors."""
