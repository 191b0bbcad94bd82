"""What a run needs beside its steps: its end, a mean of its weights, a sign of life, and where its time goes."""
