"""The planning store: bitemporal inputs, immutable runs, and the published pointer."""
