"""What a compiled function must not do: it is refused with the line, and nothing has happened."""
