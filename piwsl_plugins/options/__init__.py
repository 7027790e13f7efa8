"""What an option is, and the options of a training."""
