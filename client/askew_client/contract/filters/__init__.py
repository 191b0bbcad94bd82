"""Conditions on payloads: their form, the paths of fields, and instants to compare."""
