"""What people look at: tables, drawings, pictures."""
