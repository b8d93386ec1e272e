"""What a person looks at after an evaluation: ``tables`` for the terminal and Markdown, ``figures`` as PNG."""
