"""What a planner takes into the demand review: headline tables, fan charts and one page."""
