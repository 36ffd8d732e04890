"""Clinical demand: tiers, enrolment, protocol schedule, and the sentences a review needs."""
