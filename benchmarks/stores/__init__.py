"""The stores that Askew is compared with, one module for each. Their packages are imported only when they are used."""
