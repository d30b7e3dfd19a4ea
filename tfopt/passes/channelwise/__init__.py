"""What is multiplied and added channel by channel, and how linear layers on either side take it in."""
