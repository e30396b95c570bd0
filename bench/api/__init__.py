"""What a program or a notebook calls: it carries out experiments, and shows and prints nothing."""
