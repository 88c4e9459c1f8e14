"""What requests take and answers hold."""
