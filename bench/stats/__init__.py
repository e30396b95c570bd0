"""From records to what they show: pure functions of records."""
