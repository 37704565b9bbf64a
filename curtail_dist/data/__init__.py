"""What is trained on: the rows, who does which, and which are done."""
