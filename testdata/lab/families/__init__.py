"""Fault families: each takes a Plan and its options and fills in workload, events, captures, label."""
