"""Train encoders on plain text: new ones, and those that others have trained."""
