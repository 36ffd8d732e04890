"""What planners hand in and take away: files to checked tables, tables to files and workbooks."""
