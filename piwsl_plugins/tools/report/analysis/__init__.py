"""What follows from the measured parts: numbers with their uncertainty, no model needed."""
