"""Step 2: an object becomes durable before Success is answered."""
