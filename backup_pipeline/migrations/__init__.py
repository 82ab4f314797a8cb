"""What is applied and what is pending, read from the project's migration files; the application is never imported."""
