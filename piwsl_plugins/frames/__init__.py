"""What a structure is: its identity, one reader for its files, its checks, its energy scale."""
