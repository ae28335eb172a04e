"""Other libraries' ways in: each module is imported only where its library is used, and is named after it."""
