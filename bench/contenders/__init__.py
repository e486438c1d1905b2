"""What is compared: a folder for each job, a file for each way of doing it."""
