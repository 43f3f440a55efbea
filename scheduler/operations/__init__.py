"""What is being done: the gate that everything passes, starts, migrations, drains, and their journal."""
