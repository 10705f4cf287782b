"""How sure a number is: its spread over seeds, and paired comparisons on the same test items."""
