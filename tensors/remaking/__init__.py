"""Making a picture again: from a picture or a file to a request, with what differs."""
