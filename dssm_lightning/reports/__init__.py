"""Reports for people: tables, drawings, pictures."""
