"""What a difference between two encoders is worth: intervals and p-values that resample what the queries show."""
