"""Step 5: what was built is sent, confirmed and recorded."""
