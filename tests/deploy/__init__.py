"""What is shipped beside the code: the image, the Compose file, the locked requirements, the Makefile's commands."""
