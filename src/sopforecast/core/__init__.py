"""What every room shares: months, tables, hierarchy, draws, metrics and the executor."""
