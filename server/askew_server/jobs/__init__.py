"""Jobs: work that outlasts its request and continues in the background. See kind.py."""
