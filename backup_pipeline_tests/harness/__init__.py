"""What the tests stand on: database servers, planned faults, damage on purpose."""
