"""What every route shares: bodies, forms, archives, limits, problem documents, paging and names."""
