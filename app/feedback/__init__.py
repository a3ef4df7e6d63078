"""What people say of answers: pictures kept for review, decisions on them, and feedback; each teaches at once."""
