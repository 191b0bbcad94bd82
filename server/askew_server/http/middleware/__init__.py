"""What a request passes before its route, outermost first: observer, load shedding, limits, guard, raw search."""
